"""Labels that are known but hidden, and shown only where they are asked for, to play rounds without people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from srpu.active.labels import Ids
from srpu.active.query import Query, Window
from srpu.data.classes import IGNORE


def grid(height: int, width: int, edge: int) -> list[Window]:
    """Windows that cover an image once, each about ``edge`` pixels wide and high.

    >>> grid(100, 230, 100)
    [Window(top=0, left=0, height=100, width=115), Window(top=0, left=115, height=100, width=115)]
    """
    rows, columns = _cuts(height, edge), _cuts(width, edge)
    return [
        Window(top, left, bottom - top, right - left)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]


def _cuts(length: int, edge: int) -> list[int]:
    parts = max(round(length / edge), 1)
    return [round(i * length / parts) for i in range(parts + 1)]


class Oracle:
    """Knows every mask, and shows what it is asked for.

    Args:
        masks: The whole truth (h, w) by image; 255 is unknown to the oracle too.

    Attributes:
        shown: What is known of each image, 255 elsewhere.
        total: Pixels whose class the oracle knows.
    """

    def __init__(self, masks: Mapping[str, Ids]) -> None:
        self._masks = masks
        self.shown: dict[str, Ids] = {image: np.full(ids.shape, IGNORE, np.uint8) for image, ids in masks.items()}
        self.total = sum(int(np.count_nonzero(np.asarray(ids) != IGNORE)) for ids in masks.values())

    def answer(self, queries: Iterable[Query]) -> None:
        """Show the masks of ``queries``."""
        for query in queries:
            here = query.window.slices if query.window else (slice(None), slice(None))
            self.shown[query.image][here] = self._masks[query.image][here]

    @property
    def pixels(self) -> int:
        """Pixels that were labelled so far."""
        return sum(int(np.count_nonzero(ids != IGNORE)) for ids in self.shown.values())

    @property
    def share(self) -> float:
        """Their share of all that can be labelled, 0 to 1."""
        return self.pixels / self.total if self.total else 0.0

    @property
    def labelled(self) -> list[str]:
        """The images of which anything is known, in the order of the masks."""
        return [image for image, ids in self.shown.items() if (ids != IGNORE).any()]


def first_queries(queries: Sequence[Query], count: int, random: np.random.Generator) -> list[Query]:
    """What is labelled before the first round: drawn by chance, from as many images as possible.

    >>> some = [Query(image, image, Window(0, left, 8, 8)) for image in "ab" for left in (0, 8, 16)]
    >>> sorted(query.image for query in first_queries(some, 2, np.random.default_rng(0)))
    ['a', 'b']
    """
    shuffled = [queries[i] for i in random.permutation(len(queries))]
    turns: dict[str, int] = {}
    ranked = []
    for place, query in enumerate(shuffled):
        turns[query.image] = turns.get(query.image, 0) + 1
        ranked.append((turns[query.image], place, query))
    return [query for _, _, query in sorted(ranked, key=lambda one: one[:2])[:count]]
