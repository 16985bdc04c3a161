"""Which class id has which name, colour and grey level."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import UInt8

IGNORE = 255
"""The id of pixels that are not labelled, not judged and not counted; inside SRPU always this one."""

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class ClassMap:
    """The classes of a project, as the settings name them.

    Attributes:
        names: Name of each class id.
        colors: Colour of each class id, as (red, green, blue) from 0 to 255.
        ignore_color: Colour of pixels that are not labelled.
        ignore_index: Their id in files.
        mask_values: For masks of grey levels, the class id of each level; empty: levels are ids.
    """

    names: tuple[str, ...]
    colors: tuple[RGB, ...]
    ignore_color: RGB = (0, 0, 0)
    ignore_index: int = IGNORE
    mask_values: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def __len__(self) -> int:
        return len(self.names)

    def id_of(self, stored: int) -> int | None:
        """The class id, or ``IGNORE``, that ``stored`` means in a file; None if there is no such class.

        >>> classes = ClassMap(("pore", "grain"), ((0, 0, 255), (255, 0, 0)), ignore_index=9)
        >>> classes.id_of(1), classes.id_of(9), classes.id_of(2)
        (1, 255, None)
        """
        if stored == self.ignore_index:
            return IGNORE
        return stored if 0 <= stored < len(self) else None

    def of_colours(self) -> dict[RGB, int]:
        """The id that each colour stands for, ``IGNORE`` for the ignore colour."""
        return {**{color: id_ for id_, color in enumerate(self.colors)}, self.ignore_color: IGNORE}

    def of_levels(self) -> dict[int, int]:
        """The id that each grey level of ``mask_values`` stands for."""
        return {level: IGNORE if id_ == self.ignore_index else id_ for level, id_ in self.mask_values.items()}

    def palette(self, ignore_at: int) -> UInt8[np.ndarray, "256 3"]:
        """The colour of each id, the ignore colour at ``ignore_at``, and for all other ids one that no class has."""
        taken = np.array([*self.colors, self.ignore_color])
        spare = next(
            colour
            for colour in itertools.product(range(128, 256, 8), repeat=3)
            if np.abs(taken - colour).max(axis=1).min() > 3
        )
        colours = np.full((256, 3), spare, np.uint8)
        colours[: len(self)] = self.colors
        colours[ignore_at] = self.ignore_color
        return colours

    def state(self) -> dict[str, Any]:
        """Plain values that tell this map from others."""
        return {
            "names": list(self.names),
            "colors": [list(color) for color in self.colors],
            "ignore_color": list(self.ignore_color),
            "ignore_index": self.ignore_index,
            "mask_values": dict(self.mask_values),
        }


def colour(ids: UInt8[np.ndarray, "h w"], classes: ClassMap) -> UInt8[np.ndarray, "h w 3"]:
    """Paint class ids in their colours, and ``IGNORE`` in the ignore colour."""
    painted: UInt8[np.ndarray, "h w 3"] = classes.palette(IGNORE)[ids]
    return painted
