"""What one image's prediction is written as: the mask, and the pictures that the settings ask for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import Float32, Shaped, UInt8

from srpu.data.images import write_image
from srpu.data.masks import ClassMap, colour, write_mask, write_mask_stack
from srpu.files import replacing, writing_to
from srpu.pictures import overlay
from srpu.settings import InferenceSettings

Ids = UInt8[np.ndarray, "h w"]
Picture = Shaped[np.ndarray, "h w *c"]


@dataclass(frozen=True, eq=False)
class Page:
    """One segmented image.

    Attributes:
        image: Grey levels as read, with data bar.
        ids: Class ids; 255 on the data bar.
        uncertainty: Entropy over the classes, from 0 (certain) to 255 (all equally probable); 0 on the data bar.
        probabilities: Those of one class after the other, in [0, 1], 0 on the data bar; empty if they are not wanted.
    """

    image: Shaped[np.ndarray, "h w"]
    ids: Ids
    uncertainty: UInt8[np.ndarray, "h w"]
    probabilities: Iterable[Float32[np.ndarray, "h w"]] = ()


@dataclass(frozen=True)
class Kind:
    """A picture of a prediction.

    Attributes:
        setting: What asks for it.
        depth: Bytes of a pixel.
        draw: Makes it from a page.
        per_class: There is one for each class, so that only TIFF can hold them.
    """

    setting: str
    depth: int
    draw: Callable[[Page, ClassMap], Iterable[Picture]]
    per_class: bool = False

    def size(self, pixels: int, classes: int) -> int:
        """Bytes of the picture of so many pixels, or of the pictures of all classes."""
        return pixels * self.depth * (classes if self.per_class else 1)


KINDS = {
    "colored": Kind("SAVE_COLORED", 3, lambda page, classes: [colour(page.ids, classes)]),
    "overlay": Kind("SAVE_OVERLAY", 3, lambda page, classes: [overlay(page.image, page.ids, classes)]),
    "uncertainty": Kind("SAVE_UNCERTAINTY", 1, lambda page, classes: [page.uncertainty]),
    "probabilities": Kind("SAVE_PROBABILITIES", 4, lambda page, classes: page.probabilities, per_class=True),
}
"""The pictures beside the mask, by the end of their names."""


def file_names(name: str, pages: int, settings: InferenceSettings) -> dict[str, str]:
    """The file of each result: "predicted_mask", then those of :data:`KINDS` that the settings ask for."""
    tiff = {"predicted_mask": settings.MASK_FORMAT == "tiff"}
    tiff |= {kind: one.per_class for kind, one in KINDS.items() if getattr(settings, one.setting)}
    return {kind: f"{name}_{kind}.{'tif' if tiff[kind] or pages > 1 else 'png'}" for kind in tiff}


def write_pages(paths: dict[str, Path], pages: Iterator[Page], classes: ClassMap, pixels: int) -> None:
    """Write all results of one image or stack, taking one page at a time.

    Args:
        paths: By :func:`file_names`.
        pages: One page for PNG files, any number for TIFF.
        classes: What ids mean, and their colours.
        pixels: About how many there are in all pages, to choose a TIFF that can hold them.

    Raises:
        WorkspaceError: A file cannot be written; no half of one is left.
    """
    mask = paths["predicted_mask"]
    with ExitStack() as exits:
        writers = {
            kind: exits.enter_context(_writing(path, KINDS[kind].size(pixels, len(classes))))
            for kind, path in paths.items()
            if path != mask
        }

        def masks() -> Iterator[Ids]:
            for page in pages:
                for kind, write in writers.items():
                    for picture in KINDS[kind].draw(page, classes):
                        write(picture)
                yield page.ids

        if mask.suffix == ".tif":
            write_mask_stack(mask, masks(), classes)
        else:
            write_mask(mask, next(masks()), classes)


@contextmanager
def _writing(path: Path, size: int) -> Iterator[Callable[[Picture], None]]:
    """Takes the one picture of a PNG, or those of a TIFF in turn, of ``size`` bytes together at most."""
    if path.suffix == ".png":
        yield lambda picture: write_image(path, picture)
        return
    with replacing(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=size > 4e9) as tiff:

        def write(picture: Picture) -> None:
            tone = "rgb" if picture.ndim == 3 else "minisblack"
            tiff.write(picture, photometric=tone, compression="zlib", metadata=None)

        yield write


class Planes:
    """The class probabilities of one page, on disk: they come in bands of all classes, but files want class by class.

    Args:
        folder: Holds the nameless file, which vanishes at :meth:`close`.
        classes: How many.
        shape: Height and width of the page; what is not put stays 0.

    Raises:
        WorkspaceError: The disk is full.
    """

    def __init__(self, folder: Path, classes: int, shape: tuple[int, int]) -> None:
        self._folder, self._classes, self._shape = folder, classes, shape
        with writing_to(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by close)
            self._file.truncate(classes * shape[0] * shape[1] * 4)

    def put(self, top: int, probabilities: Float32[np.ndarray, "c rows w"]) -> None:
        """Keep the rows from ``top`` on."""
        height, width = self._shape
        with writing_to(self._folder):
            for class_, plane in enumerate(probabilities):
                self._file.seek((class_ * height + top) * width * 4)
                self._file.write(np.ascontiguousarray(plane).data)
            self._file.flush()

    def __iter__(self) -> Iterator[Float32[np.ndarray, "h w"]]:
        height, width = self._shape
        self._file.seek(0)
        for _ in range(self._classes):
            yield np.frombuffer(self._file.read(height * width * 4), np.float32).reshape(height, width)

    def close(self) -> None:
        """Free the disk."""
        self._file.close()
