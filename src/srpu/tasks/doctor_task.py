"""``srpu doctor``: what this machine can do, and what is wrong with it and with the workspace."""

from __future__ import annotations

import logging
import os
import platform
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path

from srpu import __version__
from srpu.config import check_configs, load_settings
from srpu.data.index import read_manifest
from srpu.errors import IndexingError, SettingsError
from srpu.settings import Settings
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

_LITTLE_DISK_GB = 5
_NOT_OURS = {".git", ".venv", "node_modules"}


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong; each problem is a sentence with its cure."""

    problems: tuple[str, ...]


def run(workspace: Workspace | None) -> Diagnosis:
    """Log the state of the machine and, if there is one, of the workspace; then every problem."""
    problems = [*_software(), *_devices(), *_disk(workspace.root if workspace else Path.cwd())]
    if workspace is None:
        log.info("Workspace: none here; `srpu init DIR` makes one.")
    else:
        log.info("Workspace: %s", workspace.root)
        problems += _workspace(workspace)
    for problem in problems:
        log.warning(problem)
    if not problems:
        log.info("Nothing is wrong.")
    return Diagnosis(tuple(problems))


def _software() -> Iterator[str]:
    log.info("SRPU %s, Python %s, %s", __version__, platform.python_version(), platform.platform())
    found = []
    for requirement in metadata.requires("srpu") or ():
        name, extra = re.match(r"[\w.-]+", requirement), "extra ==" in requirement
        if name is None or extra:
            continue
        try:
            found.append(f"{name[0]} {metadata.version(name[0])}")
        except metadata.PackageNotFoundError:
            yield f"{name[0]} is not installed; install SRPU again (`pip install -e .` in its folder)."
    log.info("Libraries: %s", ", ".join(found))


def _devices() -> Iterator[str]:
    try:
        import torch

        from srpu.learn.device import choose_device, choose_precision
    except (ImportError, OSError) as error:  # a broken installation fails with either
        yield f"torch cannot be imported ({error}); install it again."
        return
    log.info("CPU: %s, %d cores", platform.processor() or platform.machine(), os.cpu_count() or 1)
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        log.info("GPU %d: %s, %.0f GB, CUDA %s", number, card.name, card.total_memory / 1e9, torch.version.cuda)
    device = choose_device("auto")
    log.info('DEVICE = "auto" computes on "%s" in %s.', device, choose_precision("auto", device))
    if device.type != "cuda" and shutil.which("nvidia-smi"):
        yield (
            f"There seems to be an NVIDIA GPU, but torch {torch.__version__} cannot use it; update the driver, or "
            f"install the CUDA build of torch as its web site says."
        )


def _disk(folder: Path) -> Iterator[str]:
    usage = shutil.disk_usage(folder)
    log.info("Disk: %.0f GB free of %.0f GB at %s", usage.free / 1e9, usage.total / 1e9, folder)
    if usage.free < _LITTLE_DISK_GB * 1e9:
        yield f"Less than {_LITTLE_DISK_GB} GB are free at {folder}; make room, for example by deleting cache folders."
    if not os.access(folder, os.W_OK):
        yield f"You may not write in {folder}; change its permissions or use another folder."


def _workspace(workspace: Workspace) -> Iterator[str]:
    yield from _leftovers(workspace.root)
    try:
        check_configs(workspace)
    except SettingsError as error:
        yield str(error)
        return
    settings = load_settings("index", workspace).settings
    yield from _folders(settings, workspace)
    yield from _index(settings, workspace)
    models = sorted(workspace.path(settings.MODEL_SAVE_DIR).glob("*/best_model.pth"), key=_changed)
    log.info("Trained models: %d%s", len(models), f", the newest is {models[-1]}" if models else "")


def _leftovers(root: Path) -> Iterator[str]:
    """Half-written files: a process that is killed cannot take them away."""
    left = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = set(subfolders) - _NOT_OURS
        left += [Path(folder, name) for name in names if name.startswith(".tmp-")]
    if left:
        size = sum(path.stat().st_size for path in left)
        yield (
            f"Interrupted commands left {len(left)} unfinished files ({size / 1e6:.0f} MB), e.g. {left[0]}; "
            f"delete them while no srpu command is running."
        )


def _folders(settings: Settings, workspace: Workspace) -> Iterator[str]:
    for name in settings.RAW_DIRS:
        if not workspace.path(name).is_dir():
            yield f"RAW_DIRS names {name}, which is not there; make that folder or correct configs/base.py."
    if not any(workspace.path(name).is_dir() for name in (settings.LABELED_DIR, settings.DATASETS_DIR)):
        yield f"There is neither {settings.LABELED_DIR} nor {settings.DATASETS_DIR}; masks belong into one of them."


def _index(settings: Settings, workspace: Workspace) -> Iterator[str]:
    path = workspace.path(settings.MASTER_LABELED_JSON)
    try:
        splits = Counter(record.split or "in no split" for record in read_manifest(path))
    except IndexingError as error:
        yield str(error)
        return
    parts = ", ".join(f"{count} {split}" for split, count in splits.items())
    log.info("Index: %d labelled images (%s)", splits.total(), parts)
    data = [*settings.RAW_DIRS, settings.LABELED_DIR, settings.DATASETS_DIR]
    if max(_newest(workspace.path(name)) for name in data) > _changed(path):
        day = datetime.fromtimestamp(_changed(path)).astimezone()
        yield f"Files have changed since the index was made ({day:%Y-%m-%d %H:%M}); run `srpu index`."


def _newest(folder: Path) -> float:
    """When something below ``folder`` last changed; a folder's own time tells of files that came or went."""
    return max(
        (_changed(Path(place, name)) for place, _, names in os.walk(folder) for name in (".", *names)), default=0.0
    )


def _changed(path: Path) -> float:
    return path.lstat().st_mtime
