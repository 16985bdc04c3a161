"""Where training curves go: TensorBoard or Weights & Biases, and always a plain file beside the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from srpu.errors import SettingsError
from srpu.files import make_folder, writing_to


@runtime_checkable
class Tracker(Protocol):
    """Takes numbers and pictures as training goes on."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Record ``values`` at ``step``."""

    def picture(self, step: int, name: str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Record a picture at ``step``."""

    def close(self) -> None:
        """Write what is still held back."""


class LinesTracker:
    """One JSON line per record; works everywhere and can be read while training runs."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self._path = path

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line; numbers that are not defined become null."""
        line = {
            "step": step,
            **{name: value if np.isfinite(value) else None for name, value in values.items()},
        }
        with writing_to(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def picture(self, step: int, name: str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Lines hold no pictures."""

    def close(self) -> None:
        """Every line is on disk already."""


class TensorBoardTracker:
    """Event files for ``tensorboard --logdir tensorboard``."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        make_folder(folder)
        self._writer = SummaryWriter(str(folder))

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """One curve per name."""
        for name, value in values.items():
            if np.isfinite(value):
                self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """One slider per name."""
        self._writer.add_image(name, rgb, step, dataformats="HWC")

    def close(self) -> None:
        """Flush the event file."""
        self._writer.close()


class WandbTracker:
    """A run of Weights & Biases; "offline" needs neither account nor internet."""

    def __init__(self, folder: Path, name: str, options: Mapping[str, Any]) -> None:
        try:
            metadata.version("wandb")  # a folder of that name can be imported, so ask for the package
        except metadata.PackageNotFoundError as error:
            raise SettingsError(
                'LOGGER = "wandb" needs the wandb package: run `pip install "srpu[wandb]"`, or use "tensorboard".'
            ) from error
        import wandb

        self._wandb = wandb
        self._run = wandb.init(dir=str(make_folder(folder)), name=name, **options)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """One curve per name."""
        self._run.log({name: value for name, value in values.items() if np.isfinite(value)}, step=step)

    def picture(self, step: int, name: str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """One panel per name."""
        self._run.log({name: self._wandb.Image(rgb)}, step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class Trackers:
    """Several trackers as one.

    Args:
        trackers: Each gets everything.
        pictures: Gives the pictures that are recorded with each row of numbers; None stands for none yet.
    """

    def __init__(self, *trackers: Tracker, pictures: Callable[[], Mapping[str, np.ndarray | None]] = dict) -> None:
        self._trackers = trackers
        self._pictures = pictures

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Pass ``values`` and the present pictures on to each."""
        pictures = {name: rgb for name, rgb in self._pictures().items() if rgb is not None}
        for tracker in self._trackers:
            tracker.numbers(step, values)
            for name, rgb in pictures.items():
                tracker.picture(step, name, rgb)

    def picture(self, step: int, name: str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Pass the picture on to each."""
        for tracker in self._trackers:
            tracker.picture(step, name, rgb)

    def close(self) -> None:
        """Close each."""
        for tracker in self._trackers:
            tracker.close()
