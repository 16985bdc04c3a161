"""One training at the machine: its processes and precision, and how its run is begun or continued."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, broadcast_object_list

from srpu.errors import SrpuError, WorkspaceError
from srpu.files import locked
from srpu.learn.device import Precision, choose_device, choose_precision
from srpu.learn.tracker import LinesTracker, TensorBoardTracker, Tracker, Trackers, WandbTracker
from srpu.settings import PretrainSettings, TrainSettings
from srpu.tasks.runs import Run, start_run, unfinished_run
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

S = TypeVar("S", bound=TrainSettings | PretrainSettings)

LONGEST_VALIDATION = timedelta(hours=24)
"""How long the other processes wait while the first one judges."""

PATHS = ("RAW_DIRS", "LABELED_DIR", "DATASETS_DIR", "CACHE_DIR", "CACHE_LIMIT_GB", "DEVICE")
"""Settings that may differ when a run is continued: they do not change a number."""


@dataclass(frozen=True)
class Session(Generic[S]):
    """What computes a training, and what it goes on from.

    Attributes:
        settings: As asked for, or as the continued run began.
        folder: Where the runs of its kind lie.
        accelerator: Devices and processes.
        precision: Number format, the continued run's if there is one.
        old: The run that is continued.
    """

    settings: S
    folder: Path
    accelerator: Accelerator
    precision: Precision
    old: Run | None

    @contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """Keep others away from the folder.

        Raises:
            WorkspaceError: Another one is at work there.
        """
        with locked(self.folder / ".lock", what) if self.accelerator.is_main_process else nullcontext():
            yield

    def begin(self, verb: str, images: str, data_hash: str, **facts: Any) -> Run:
        """The run that is continued, or a new one, the same in every process.

        Args:
            verb: Who asks.
            images: What is learned from, for the sentence.
            data_hash: Of these images; a run is continued on the same ones.
            facts: For the manifest of a new run.

        Raises:
            WorkspaceError: The images or the number of processes have changed since the run began.
        """
        processes = self.accelerator.num_processes
        if self.old is not None:
            if self.old.manifest["data_hash"] != data_hash:
                raise WorkspaceError(
                    f"The {images} have changed since {self.old.folder} began; start a new run without --resume."
                )
            if self.old.manifest["processes"] != processes:
                raise WorkspaceError(
                    f"{self.old.folder} was begun by {self.old.manifest['processes']} processes, and each would now "
                    "see other crops than before; continue it with as many."
                )
            return self.old
        shared: list[Run | None] = [None]
        if self.accelerator.is_main_process:
            shared[0] = start_run(
                self.folder,
                self.settings.RUN_NAME,
                task=verb,
                settings=self.settings.model_dump(mode="json"),
                data_hash=data_hash,
                seed=self.settings.SEED,
                device=str(self.accelerator.device),
                processes=processes,
                precision=self.precision,
                **facts,
            )
        if processes > 1:
            broadcast_object_list(shared)
        assert shared[0] is not None  # noqa: S101 - the first process always makes one
        return shared[0]


def open_session(settings: S, folder: Path, *, resume: bool) -> Session[S]:
    """Choose device and precision, and find the run to continue.

    Args:
        settings: As checked.
        folder: Where the runs of its kind lie.
        resume: Go on with the last of them.

    Raises:
        WorkspaceError: There is no run to continue.
    """
    device = choose_device(settings.DEVICE)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    old = unfinished_run(folder) if resume else None
    if old is not None:
        settings = as_begun(old.manifest["settings"], settings)
    precision = old.manifest["precision"] if old else choose_precision(settings.PRECISION, device)
    frozen = isinstance(settings, TrainSettings) and settings.FREEZE_ENCODER
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if precision == "bf16" else "no",
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=LONGEST_VALIDATION),
            DistributedDataParallelKwargs(find_unused_parameters=frozen),
        ],
    )
    if not accelerator.is_main_process:
        logging.getLogger("srpu").setLevel(logging.ERROR)
    return Session(settings, folder, accelerator, precision, old)


def as_begun(settings: Mapping[str, Any], now: S) -> S:
    """The ``settings`` that a run began with; those that have changed since are named and left aside."""
    current = now.model_dump(mode="json")
    begun = {**settings, **{name: current[name] for name in PATHS}}
    if changed := sorted(name for name in begun if begun[name] != current.get(name)):
        log.warning(
            "The run is continued as it began; these settings have changed since and are not taken: %s.",
            ", ".join(changed),
        )
    return type(now)(**begun)


@contextmanager
def kept(run: Run, verb: str) -> Iterator[None]:
    """Say how to go on after an interruption."""
    try:
        yield
    except (KeyboardInterrupt, SrpuError) as end:
        if run.state_path.exists():
            log.warning("All finished epochs are kept: `srpu %s --resume` goes on from there.", verb)
        elif isinstance(end, KeyboardInterrupt):
            log.warning("No epoch had ended yet; there is nothing to go on from.")
        raise


def trackers(
    settings: TrainSettings | PretrainSettings,
    workspace: Workspace,
    run: Run,
    accelerator: Accelerator,
    lines: Tracker,
    pictures: Callable[[], dict[str, np.ndarray | None]],
) -> Trackers:
    """Where the numbers go: the terminal's ``lines``, a plain file, and what LOGGER names; from one process only."""
    if not accelerator.is_main_process:
        return Trackers()
    name = "_".join(run.folder.relative_to(workspace.path(settings.MODEL_SAVE_DIR)).parts)
    chosen: list[Tracker] = [lines, LinesTracker(run.folder / "metrics.jsonl")]
    if settings.LOGGER == "tensorboard":
        chosen.append(TensorBoardTracker(workspace.path("tensorboard") / name))
    elif settings.LOGGER == "wandb":
        options = {
            "project": settings.WANDB_PROJECT,
            "entity": settings.WANDB_ENTITY,
            "mode": settings.WANDB_MODE,
            "tags": settings.WANDB_TAGS,
            "config": settings.model_dump(mode="json"),
        }
        chosen.append(WandbTracker(workspace.root, name, options))
    return Trackers(*chosen, pictures=pictures)
