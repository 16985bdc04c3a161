"""Whether a new model takes the place of the best one so far: it does, unless it is worse.

Both are judged on the same frozen validation images. A difference is the new model's score minus the other's on the
same image, averaged within each specimen (group), then over specimens. Each class is a chance to call a model worse by
bad luck, so the intervals of classes are those that all hold together (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from srpu.tasks.comparison import BETTER, ENOUGH_GROUPS, SAME, WORSE, Difference, compare, signed
from srpu.tasks.scores import Scores

FIRST = "first"

GREAT_LOSS = 0.03
"""With fewer than ENOUGH_GROUPS specimens, only a fall of mean Dice by more than this makes a model worse."""

SURE = 0.95
"""How often all intervals of classes hold the truth together, and that of mean Dice alone."""


class Paired(NamedTuple):
    """What was scored on one image: its specimen, and "mean_dice" and "dice.NAME" of the classes its truth holds."""

    group: str
    scores: Scores


@dataclass(frozen=True)
class Decision:
    """What becomes of the new model.

    Attributes:
        promoted: Whether it becomes the current one.
        verdict: "better", "not distinguishable" or "worse" than the best one so far, or "first".
        reason: One sentence for people.
        mean: The difference of mean Dice with its 95 % interval; None: there is nothing to compare.
        per_class: The difference of each class's Dice that can be judged, with the interval at ``level``.
        groups: Specimens that both were judged on.
        level: Of the intervals of classes.
        unjudged: Classes that no validation image holds.
        remarks: What else should be known, one sentence each.
        forced: Whether it was promoted although it is worse.
    """

    promoted: bool
    verdict: str
    reason: str
    mean: Difference | None = None
    per_class: Mapping[str, Difference] = field(default_factory=dict)
    groups: int = 0
    level: float = SURE
    unjudged: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    forced: bool = False

    def plain(self) -> dict[str, Any]:
        """Plain values; what is not defined is None."""
        return {
            **vars(self),
            "mean": self.mean.plain() if self.mean else None,
            "per_class": {of: score.plain() for of, score in self.per_class.items()},
            "unjudged": list(self.unjudged),
            "remarks": list(self.remarks),
        }

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Decision:
        """What :meth:`plain` gave, for example out of the store."""
        mean = values["mean"]
        return cls(
            **{
                **values,
                "mean": None if mean is None else _difference(mean),
                "per_class": {of: _difference(score) for of, score in values["per_class"].items()},
                "unjudged": tuple(values["unjudged"]),
                "remarks": tuple(values["remarks"]),
            }
        )


def decide(
    new: Mapping[str, Paired],
    best: Mapping[str, Paired] | None,
    classes: Sequence[str],
    *,
    max_class_loss: float = 0.01,
    forced: bool = False,
) -> Decision:
    """Whether the new model becomes the current one.

    It does unless a class loses more than ``max_class_loss`` and the interval of that difference leaves out 0. With
    fewer than :data:`ENOUGH_GROUPS` specimens, unless mean Dice falls by more than :data:`GREAT_LOSS`.

    Args:
        new: What the new model reached, by image.
        best: The same of the best promoted model; None: there is none.
        classes: Their names.
        max_class_loss: Dice that a class may lose, 0 to 1.
        forced: Promote it even if it is worse.

    Raises:
        ValueError: The two were not judged on the same images.
    """
    unjudged = tuple(of for of in classes if not _held(new, of))
    remarks = _unjudged_sentence(unjudged) if new else ()
    groups = len({image.group for image in new.values()})
    if best is None:
        reason = "It is the first model, so it is taken."
        if not new:
            reason = "It is the first model, so it is taken unseen; label some images for validation, to judge models."
        return Decision(True, FIRST, reason, groups=groups, unjudged=unjudged, remarks=remarks)
    if set(best) != set(new):
        raise ValueError("the best model was judged on other images than the new one; judge it again on these")
    mean = _compared(new, best, "mean_dice", SURE)
    if not mean.groups:
        reason = (
            "No validation image can judge it, so nobody can tell whether it is better than the model before: it is "
            "taken unseen; label some images for validation."
        )
        return Decision(True, SAME, reason, unjudged=unjudged, remarks=remarks)
    tested = [of for of in classes if of not in unjudged]
    level = 1 - (1 - SURE) / len(tested)
    per_class = {of: _compared(new, best, f"dice.{of}", level) for of in tested}
    verdict, reason = _verdict(mean, per_class, level, max_class_loss)
    forced = forced and verdict == WORSE
    if forced:
        reason = f"It is taken by force although it is worse ({reason.removesuffix('.')})."
    if mean.groups >= ENOUGH_GROUPS:
        remarks += _lonely_losses(per_class, max_class_loss)
    taken = verdict != WORSE or forced
    return Decision(taken, verdict, reason, mean, per_class, mean.groups, level, unjudged, remarks, forced)


def _verdict(
    mean: Difference, per_class: Mapping[str, Difference], level: float, max_class_loss: float
) -> tuple[str, str]:
    """The verdict and the sentence that says why."""
    groups = f"over {mean.groups} group{'s' * (mean.groups != 1)}"
    if mean.groups < ENOUGH_GROUPS:
        few = f"fewer than {ENOUGH_GROUPS} groups can only show a loss of more than {GREAT_LOSS:g}"
        if mean.difference < -GREAT_LOSS:
            return WORSE, f"Mean Dice {signed(mean.difference)} {groups}, and {few}: this is one."
        return SAME, f"Mean Dice {signed(mean.difference)} {groups}; {few}, and this is none."
    lost = [of for of, score in per_class.items() if score.difference < -max_class_loss and score.high < 0]
    if lost:
        each = " and ".join(f"{of} {per_class[of]}" for of in sorted(lost, key=lambda of: per_class[of].difference))
        more = f"more than {max_class_loss:g} is lost and chance alone does not explain it"
        return WORSE, f"Dice of {each} {groups} ({level:.1%} intervals): {more}."
    if mean.verdict == BETTER:
        return BETTER, f"Mean Dice {mean} {groups}: it is better than the best model so far."
    if mean.verdict == WORSE:
        return SAME, f"Mean Dice {mean} {groups}: a loss, but surely of more than {max_class_loss:g} in no class."
    return SAME, f"Mean Dice {mean} {groups}: it cannot be told apart from the best model so far."


def _lonely_losses(per_class: Mapping[str, Difference], max_class_loss: float) -> tuple[str, ...]:
    """A sentence about classes that lose much in so few groups that no interval says anything."""
    lost = [
        f"{of} {signed(score.difference)} ({score.groups} group{'s' * (score.groups != 1)})"
        for of, score in per_class.items()
        if score.groups < ENOUGH_GROUPS and score.difference < -max(GREAT_LOSS, max_class_loss) and not score.high < 0
    ]
    if not lost:
        return ()
    return (
        f"Too few groups hold these classes to judge their loss of Dice, so look at the pictures: {', '.join(lost)}.",
    )


def _unjudged_sentence(unjudged: Sequence[str]) -> tuple[str, ...]:
    if not unjudged:
        return ()
    return (f"No validation image holds {' or '.join(unjudged)}: how well that is found is unjudged.",)


def _held(images: Mapping[str, Paired], of: str) -> bool:
    return any(not math.isnan(image.scores[f"dice.{of}"]) for image in images.values())


def _compared(new: Mapping[str, Paired], best: Mapping[str, Paired], name: str, level: float) -> Difference:
    ours, theirs = ([side[image].scores[name] for image in new] for side in (new, best))
    return compare(ours, theirs, [image.group for image in new.values()], level)


def _difference(values: Mapping[str, Any]) -> Difference:
    defined: dict[str, Any] = {name: math.nan if value is None else value for name, value in values.items()}
    return Difference(**defined)


def mean_gain(new: Mapping[str, Paired], old: Mapping[str, Paired]) -> Difference:
    """The difference of mean Dice between two models on the images that both were judged on."""
    common = [image for image in new if image in old]
    return _compared({image: new[image] for image in common}, old, "mean_dice", SURE)
