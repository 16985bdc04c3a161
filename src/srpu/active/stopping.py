"""When rounds of active learning end, and why, in words.

To stop because nothing improves any more takes more than a small gain: the gain must be surely small. With few
specimens nobody can tell, and then the rounds go on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ENOUGH_GROUPS = 5
"""Validation specimens under which the improvement is not judged."""


@dataclass(frozen=True)
class StopRules:
    """What the user allows.

    Attributes:
        max_rounds: Rounds at most.
        label_budget: Answers at most; None: no limit.
        target_score: Mean Dice that is good enough, 0 to 1; None: none is.
        patience: Rounds over which the gain is looked at.
        min_improvement: Gain in mean Dice over these rounds below which more labels do not pay.
    """

    max_rounds: int
    label_budget: int | None = None
    target_score: float | None = None
    patience: int = 5
    min_improvement: float = 0.01


@dataclass(frozen=True)
class Gain:
    """What the current model is better by, in mean Dice, than the one that was current ``patience`` rounds ago.

    Attributes:
        mean: Over groups, paired by image.
        low: Lower end of its 95 % interval; NaN with fewer than two groups.
        high: Upper end.
        groups: Validation specimens.
    """

    mean: float
    low: float
    high: float
    groups: int


@dataclass(frozen=True)
class Stop:
    """What the rules say.

    Attributes:
        reasons: Why the rounds end, one sentence each; none: they go on.
        notes: Which rules could not be judged, and why.
    """

    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()


def reasons_to_stop(
    rules: StopRules, *, rounds: int, pool: int, answers: int, score: float | None = None, gain: Gain | None = None
) -> Stop:
    """Whether the rounds end here.

    Args:
        rules: What the user allows.
        rounds: Rounds that are over.
        pool: Images, or windows, that could still be asked for.
        answers: Masks that were taken in, all rounds together.
        score: Mean Dice of the current model on the validation images; None or NaN: unknown.
        gain: Over the last ``rules.patience`` rounds; None: there were not so many, or there is no validation.

    >>> reasons_to_stop(StopRules(max_rounds=3), rounds=3, pool=7, answers=60).reasons
    ('All 3 rounds of MAX_ACTIVE_LEARNING_ROUNDS are done.',)
    """
    reasons, notes = [], []
    if rounds >= rules.max_rounds:
        all_ = f"All {rules.max_rounds} rounds" if rules.max_rounds > 1 else "The 1 round"
        reasons.append(f"{all_} of MAX_ACTIVE_LEARNING_ROUNDS {'are' if rules.max_rounds > 1 else 'is'} done.")
    if pool <= 0:
        reasons.append("The pool is empty: there is nothing left to ask for.")
    if rules.label_budget is not None and answers >= rules.label_budget:
        reasons.append(f"{answers} masks were taken in, and LABEL_BUDGET = {rules.label_budget}.")
    if rules.target_score is not None:
        if score is None or math.isnan(score):
            notes.append("TARGET_SCORE cannot be judged: there is no validation score.")
        elif score >= rules.target_score:
            reasons.append(f"Mean Dice {score:.3f} has reached TARGET_SCORE = {rules.target_score:g}.")
    reason, note = _improvement(rules, rounds, gain)
    return Stop((*reasons, *reason), (*notes, *note))


def current_before(promoted: Sequence[int], rounds: int, patience: int) -> int | None:
    """The round whose model was the current one ``patience`` rounds ago; None if there was none.

    Args:
        promoted: The rounds whose models were promoted and not taken back.
        rounds: Rounds whose models were judged.
        patience: How far to look back.

    >>> current_before([1, 2, 6], rounds=8, patience=5), current_before([4], rounds=8, patience=5)
    (2, None)
    """
    return max((number for number in promoted if number <= rounds - patience), default=None)


def _improvement(rules: StopRules, rounds: int, gain: Gain | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Why to stop for want of improvement, and why that cannot be judged."""
    if gain is None and rounds <= rules.patience:
        return (), (f"Improvement is looked at after {rules.patience + 1} rounds (PATIENCE = {rules.patience}).",)
    if gain is None or math.isnan(gain.mean):
        return (), ("Improvement cannot be judged: there is no model of then and now with validation scores.",)
    if gain.groups < ENOUGH_GROUPS:
        groups = f"{gain.groups} validation group{'s' * (gain.groups != 1)}"
        return (), (
            f"Improvement is not judged: {groups}, and it takes {ENOUGH_GROUPS} to tell a small gain from none.",
        )
    if not gain.high < rules.min_improvement:
        return (), ()
    over = f"Over the last {rules.patience} rounds" if rules.patience > 1 else "Over the last round"
    return (
        f"{over} mean Dice changed by {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] in {gain.groups} groups: "
        f"even the upper end is below MIN_IMPROVEMENT_THRESHOLD = {rules.min_improvement:g}.",
    ), ()
