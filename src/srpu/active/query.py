"""What is asked for: an image, or a window of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple


class Window(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """What cuts it out of (h, w)."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Query:
    """One thing to label.

    Attributes:
        image: sha256 of the image's decoded pixels.
        id: What the index calls the image.
        window: The part that is asked for; None: all of it.
    """

    image: str
    id: str
    window: Window | None = None

    @property
    def name(self) -> str:
        """What its files are called, without suffix.

        >>> Query("", "sub/s1.tif", Window(128, 256, 64, 32)).name
        'sub__s1__r00128_c00256_64x32'
        """
        file, _, page = self.id.partition("#")
        stem = "__".join(PurePosixPath(file).with_suffix("").parts) + (f"__p{page}" if page else "")
        if self.window is None:
            return stem
        return f"{stem}__r{self.window.top:05d}_c{self.window.left:05d}_{self.window.height}x{self.window.width}"
