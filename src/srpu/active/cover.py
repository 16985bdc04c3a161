"""Classes that a batch of picks should cover: the rare ones are preferred, until the batch holds them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

LEAST = 1e-3
"""Share of a class in the pool below which it is treated as if it had so much: a few stray pixels are no class."""


class Cover:
    """How much each candidate adds of what the batch lacks.

    A class counts with 1 / sqrt(share), where the share is what the pool holds on average plus what the picks hold
    already: the gain of a sum of square roots over the classes, so that a class counts less with every pick that
    shows it.
    """

    def __init__(self, shares: Float[np.ndarray, "n c"]) -> None:
        self._shares = np.nan_to_num(np.ascontiguousarray(shares, np.float32))
        self._there = self._shares.max(axis=0, initial=0) > 0
        self._held = np.maximum(self._shares.mean(axis=0, dtype=np.float64), LEAST) if len(shares) else np.array([])

    def scores(self) -> Float32[np.ndarray, " n"]:
        """In [0, 1] between the candidates that add least and most; all 0 where they add the same."""
        if not self._there.any():
            return np.zeros(len(self._shares), np.float32)
        worth = np.where(self._there, 1 / np.sqrt(self._held), 0)
        gain = self._shares @ worth.astype(np.float32)
        low, high = float(gain.min()), float(gain.max())
        if high - low <= high * np.finfo(np.float32).eps * len(worth):
            return np.zeros(len(gain), np.float32)
        return ((gain - low) / (high - low)).astype(np.float32)

    def take(self, index: int) -> None:
        """A candidate was picked."""
        self._held = self._held + self._shares[index]


def least_covered(shares: Float[np.ndarray, "n c"], free: np.ndarray, held: Float[np.ndarray, " c"]) -> int | None:
    """The class that the picks hold least of, among those that some free candidate shows; None: none shows any.

    Args:
        shares: Predicted share of each class in each candidate.
        free: Which candidates can still be picked.
        held: Sum of the picks' shares.

    >>> shares = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    >>> least_covered(shares, np.array([True, True]), np.array([0.5, 0.2, 0.0]))
    1
    """
    there = shares[free].max(axis=0, initial=0) > 0
    return int(np.where(there, held, np.inf).argmin()) if there.any() else None
