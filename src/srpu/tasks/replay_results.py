"""What simulated rounds found: curves per strategy and seed, comparisons with chance, and one sentence."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from srpu.active.curves import Curve, Difference, area, cells_won, labels_needed, mean_curve, paired
from srpu.tasks.replay_ground import Plan, Step
from srpu.tasks.replay_strategies import BASELINES, RANDOM

SCORE = "iou"
"""What curves are of: IoU averaged over the classes, which small classes move as much as large ones."""

PARTS = (0.90, 0.95, 0.98)
"""Parts of the score of all labels whose price in labels is told."""


@dataclass(frozen=True)
class Comparison:
    """One strategy against one kind of chance, over the seeds that both have.

    Attributes:
        strategy: Its name.
        against: The name of the other.
        difference: Of the areas under the curves, each doubling of the labels counting the same, in the score's unit.
        cells_won: Share of the rounds of all seeds, after the shared first one, with a better score for as many labels.
    """

    strategy: str
    against: str
    difference: Difference
    cells_won: float


@dataclass(frozen=True)
class Replayed:
    """What a replay gives.

    Attributes:
        folder: Where it lies.
        plan: How it was played.
        runs: The steps of each finished run, by strategy and seed.
        full: By seed, the step that has all labels.
        score: Which of the scores curves are of.
    """

    folder: Path
    plan: Plan
    runs: Mapping[str, Mapping[int, Sequence[Step]]]
    full: Mapping[int, Step]
    score: str = SCORE

    def curves(self, strategy: str) -> dict[int, Curve]:
        """By seed, the score against the labelled share of the pool."""
        return {
            seed: Curve(tuple(step.share for step in steps), tuple(step.scores[self.score] for step in steps))
            for seed, steps in self.runs.get(strategy, {}).items()
        }

    @property
    def full_score(self) -> float | None:
        """The mean score of all labels."""
        return statistics.mean(step.scores[self.score] for step in self.full.values()) if self.full else None

    def needed(self, strategy: str, part: float) -> float | None:
        """The share of the pool that the mean curve needs for ``part`` of the score of all labels; None: more."""
        curves = list(self.curves(strategy).values())
        full = self.full_score
        return labels_needed(mean_curve(curves), part * full) if curves and full is not None else None

    def compare(self, strategy: str, against: str) -> Comparison | None:
        """How much better ``strategy`` is, over the seeds that both have; None: there are none."""
        ours, theirs = self.curves(strategy), self.curves(against)
        seeds = sorted(set(ours) & set(theirs))
        if not seeds:
            return None
        pairs = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
        won = cells_won(*pairs)
        difference = paired(*([area(curve) for curve in side] for side in pairs))
        return Comparison(strategy, against, difference, statistics.mean(won) if won else 0.5)

    def comparisons(self) -> list[Comparison]:
        """Every strategy against every kind of chance."""
        found = [
            self.compare(strategy, against)
            for strategy in self.runs
            for against in BASELINES
            if strategy not in BASELINES
        ]
        return [one for one in found if one is not None]

    def sentence(self) -> str:
        """Whether active learning saved labels here, judged by the first strategy that is not chance."""
        asked = "Did active learning save labels here"
        main = next((name for name in self.runs if name not in BASELINES), None)
        found = self.compare(main, RANDOM) if main else None
        if main is None or found is None:
            return f"{asked}: not distinguishable, because no strategy was played beside chance."
        apart = found.difference
        spread = f" [{apart.low:+.4f}, {apart.high:+.4f}]" if apart.seeds > 1 else ""
        words = (
            f"{asked}: {apart.verdict}. Over all rounds {main} differs from chance by {apart.mean:+.4f}{spread} in "
            f"mean IoU ({apart.seeds} seed{'s' * (apart.seeds > 1)})"
        )
        if self.full_score is None:
            return f"{words}."
        part = PARTS[-1]
        ours, theirs = (_told(self.needed(name, part)) for name in (main, RANDOM))
        return f"{words}; {part:.0%} of the score of all labels took {ours} of the pixels, by chance {theirs}."

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "sentence": self.sentence(),
            "score": self.score,
            "plan": asdict(self.plan),
            "full": {str(seed): step.state() for seed, step in self.full.items()},
            "labels_needed": {name: {f"{part:.2f}": self.needed(name, part) for part in PARTS} for name in self.runs},
            "comparisons": [
                {**asdict(one), "verdict": one.difference.verdict, "difference": _defined(one.difference)}
                for one in self.comparisons()
            ],
            "runs": {
                name: {str(seed): [step.state() for step in steps] for seed, steps in runs.items()}
                for name, runs in self.runs.items()
            },
        }


def _told(share: float | None) -> str:
    return "more than was labelled" if share is None else f"{share:.1%}"


def _defined(difference: Difference) -> dict[str, float | None]:
    """Its numbers; None where they are not defined."""
    return {name: None if value != value else value for name, value in asdict(difference).items()}
