"""A pool of images without masks: crops of it, even where some files turn out to be unreadable."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from srpu.data.dataset import Batch, CropSampler, LabelledImage
from srpu.errors import DataError, IndexingError


class PoolSampler(CropSampler):
    """Draws crops of whole images. For one that cannot be read, the next in line that can be takes its place.

    Which image that is depends on the files alone, so a continued run sees what it would have seen.

    Attributes:
        unreadable: Why images were left out so far, by their place in ``images``.
    """

    _images: Sequence[LabelledImage]
    _crop: int

    def __init__(self, images: Sequence[LabelledImage], **options: object) -> None:
        super().__init__(images, **options)  # type: ignore[arg-type]
        self.unreadable: dict[int, str] = {}
        self._readable: set[int] = set()

    def _tickets_of(self, dataset: str) -> list[int]:
        tickets = []
        for number, image in enumerate(self._images):
            if image.dataset == dataset:
                tickets += [number] * (math.ceil(image.height / self._crop) * math.ceil(image.width / self._crop))
        return tickets

    def _read(self, numbers: Sequence[int], seed: tuple[int, ...]) -> Batch:
        return super()._read([self._stand_in(number) for number in numbers], seed)

    def _stand_in(self, number: int) -> int:
        """``number``, or the next image that can be read.

        Raises:
            IndexingError: There is none.
        """
        for later in range(len(self._images)):
            candidate = (number + later) % len(self._images)
            if candidate in self._readable:
                return candidate
            if candidate not in self.unreadable:
                if why := unreadable(self._images[candidate]):
                    self.unreadable[candidate] = why
                else:
                    self._readable.add(candidate)
                    return candidate
        raise IndexingError(f"None of the {len(self._images)} images can be read; run `srpu index` again.")


def unreadable(image: LabelledImage) -> str:
    """Why the image cannot be read, in a sentence; empty if it can."""
    try:
        image.open_image()
    except DataError as error:
        return str(error)
    return ""


def hold_out(
    groups: Mapping[str, Sequence[int]], order: Sequence[str], wanted: int, readable: Callable[[int], bool]
) -> list[int]:
    """Readable members of the first groups of ``order`` until there are ``wanted``; the last group is always left.

    >>> hold_out({"a": [0], "b": [1, 2], "c": [3]}, order=["b", "a", "c"], wanted=2, readable={0, 2}.__contains__)
    [2, 0]
    >>> hold_out({"a": [0, 1]}, order=["a"], wanted=1, readable=bool)
    []
    """
    held: list[int] = []
    for group in order[:-1]:
        if len(held) >= wanted:
            break
        held += filter(readable, groups[group])
    return held
