"""Score against labels: how good models become for what was labelled, and whether one way of asking beats another.

Runs of one seed begin with the same labels and the same model, so ways of asking are compared seed by seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["yes", "no", "not distinguishable"]

LEVEL = 0.95
"""How often intervals of this kind hold the true difference."""


@dataclass(frozen=True)
class Curve:
    """One run.

    Attributes:
        labels: What was labelled after each round, as a share of all pixels, rising, above 0.
        scores: What the models reached with it.
    """

    labels: tuple[float, ...]
    scores: tuple[float, ...]

    def at(self, labels: float) -> float:
        """The score for so many labels, in a line between neighbours; beyond the ends it stays as it is.

        >>> Curve((0.1, 0.3), (0.5, 0.7)).at(0.2)
        0.6
        """
        return float(np.interp(labels, self.labels, self.scores))


@dataclass(frozen=True)
class Difference:
    """What one way of asking is better by, over seeds.

    Attributes:
        mean: Over the seeds.
        low: Lower end of its 95 % interval (Student's t); NaN with fewer than two seeds.
        high: Upper end.
        seeds: How many.
    """

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def verdict(self) -> Verdict:
        """Better for sure ("yes"), worse for sure ("no"), or neither."""
        if self.low > 0:
            return "yes"
        return "no" if self.high < 0 else "not distinguishable"


def area(curve: Curve, *, logarithmic: bool = True) -> float:
    """The mean score over the labels from the first round to the last, in the unit of the score.

    Args:
        curve: A run of at least two rounds; of one round, its score is the answer.
        logarithmic: Each doubling of the labels counts the same, so early rounds count more; otherwise each pixel does.

    >>> area(Curve((0.01, 0.02, 0.04), (0.5, 0.7, 0.7)))
    0.65
    >>> round(area(Curve((0.01, 0.02, 0.04), (0.5, 0.7, 0.7)), logarithmic=False), 4)
    0.6667
    """
    places = np.log2(curve.labels) if logarithmic else np.asarray(curve.labels, np.float64)
    span = float(places[-1] - places[0])
    return round(float(np.trapezoid(curve.scores, places)) / span, 12) if span > 0 else curve.scores[0]


def labels_needed(curve: Curve, score: float) -> float | None:
    """The labels at which ``score`` is first reached, in a line between neighbours; None: it never is.

    >>> labels_needed(Curve((0.02, 0.04, 0.08), (0.5, 0.7, 0.6)), 0.6)
    0.03
    """
    if curve.scores[0] >= score:
        return curve.labels[0]
    for i, reached in enumerate(curve.scores[1:], start=1):
        if reached >= score:
            before, more = curve.scores[i - 1], curve.labels[i] - curve.labels[i - 1]
            return round(curve.labels[i - 1] + more * (score - before) / (reached - before), 12)
    return None


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Labels and scores averaged over runs, round by round, as far as every run went.

    >>> mean_curve([Curve((0.1, 0.2), (0.4, 0.6)), Curve((0.1, 0.4, 0.5), (0.6, 0.8, 0.9))])
    Curve(labels=(0.1, 0.3), scores=(0.5, 0.7))
    """
    rounds = min(len(curve.labels) for curve in curves)
    labels = np.mean([curve.labels[:rounds] for curve in curves], axis=0)
    scores = np.mean([curve.scores[:rounds] for curve in curves], axis=0)
    return Curve(*(tuple(float(x) for x in row.round(12)) for row in (labels, scores)))


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """How much better we are, seed by seed.

    For differences 0.3, 0.2 and 0.1, t with two degrees of freedom reaches 4.303 × 0.1 / √3 = 0.248 to either side:

    >>> found = paired([0.8, 0.8, 0.8], [0.5, 0.6, 0.7])
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3), found.verdict
    (0.2, -0.048, 0.448, 'not distinguishable')
    """
    from scipy.special import stdtrit

    apart = np.subtract(ours, theirs, dtype=np.float64)
    mean, seeds = float(apart.mean()) if apart.size else math.nan, len(apart)
    if seeds < 2:
        return Difference(mean, math.nan, math.nan, seeds)
    reach = float(stdtrit(seeds - 1, (1 + LEVEL) / 2) * apart.std(ddof=1) / math.sqrt(seeds))
    return Difference(mean, mean - reach, mean + reach, seeds)


def cells_won(ours: Sequence[Curve], theirs: Sequence[Curve]) -> list[float]:
    """For each seed and each round after the shared first one: 1 if we are better for as many labels, ½ if equal.

    >>> cells_won([Curve((0.1, 0.2, 0.3), (0.5, 0.7, 0.8))], [Curve((0.1, 0.2, 0.3), (0.5, 0.6, 0.8))])
    [1.0, 0.5]
    """
    won = []
    for our, their in zip(ours, theirs, strict=True):
        for labels, score in zip(our.labels[1:], our.scores[1:], strict=True):
            other = their.at(labels)
            won.append(0.5 if score == other else float(score > other))
    return won
