"""The gate in numbers one can check by hand; test_truth.py tries it on models."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srpu.tasks.comparison import BETTER, SAME, WORSE
from srpu.tasks.gate import FIRST, Decision, Paired, decide, mean_gain

CLASSES = ("carbon", "SE", "AM")
WIDE = math.sqrt(5) / 100
"""As the deviation of five groups: their mean has a standard error of 0.01."""


def images(carbon: list[float], se: list[float], am: list[float]) -> dict[str, Paired]:
    """One image of each specimen."""
    made = {}
    for number, dice in enumerate(zip(carbon, se, am, strict=True)):
        known = [score for score in dice if not math.isnan(score)]
        mean = sum(known) / len(known) if known else math.nan
        scores = {f"dice.{of}": score for of, score in zip(CLASSES, dice, strict=True)} | {"mean_dice": mean}
        made[str(number)] = Paired(f"labeled/s{number}", scores)
    return made


def level(*gains: float, of: float = 0.8) -> list[float]:
    return [of + gain for gain in gains]


SAME_5 = level(0, 0, 0, 0, 0)
BEST = images(SAME_5, SAME_5, SAME_5)


def test_the_first_model_is_taken():
    decision = decide(BEST, None, CLASSES)
    assert (decision.promoted, decision.verdict, decision.groups, decision.unjudged) == (True, FIRST, 5, ())


def test_without_validation_the_model_is_taken_with_a_warning():
    first, second = decide({}, None, CLASSES), decide({}, {}, CLASSES)
    assert (first.verdict, second.verdict) == (FIRST, SAME)
    for decision in (first, second):
        assert decision.promoted
        assert "label some" in decision.reason
        assert decision.unjudged == CLASSES


def test_a_sure_loss_of_one_class_keeps_the_old_model():
    """SE loses 0.03 on average; t for 4 degrees of freedom at 1 - 0.05 / 6 is 3.961, the deviation sqrt(0.00005)."""
    decision = decide(images(SAME_5, level(-0.02, -0.03, -0.04, -0.03, -0.03), SAME_5), BEST, CLASSES)
    assert (decision.promoted, decision.verdict, decision.groups) == (False, WORSE, 5)
    reach = 3.96083 * math.sqrt(0.00005) / math.sqrt(5)
    se = decision.per_class["SE"]
    assert (se.difference, se.low, se.high) == pytest.approx((-0.03, -0.03 - reach, -0.03 + reach), abs=1e-6)
    assert decision.level == pytest.approx(1 - 0.05 / 3)
    assert "SE -0.030 [-0.043, -0.017] over 5 groups" in decision.reason
    assert "AM" not in decision.reason


def test_three_classes_ask_for_more_certainty_than_one():
    """3 standard errors from 0: beyond 2.776, the reach of one class's interval, within 3.961, that of three."""
    lost = level(-0.03 - WIDE, -0.03 + WIDE, -0.03 - WIDE, -0.03 + WIDE, -0.03)
    assert decide(images(SAME_5, lost, SAME_5), BEST, CLASSES).promoted
    absent = [math.nan] * 5
    alone = decide(images(absent, lost, absent), images(absent, SAME_5, absent), CLASSES)
    assert not alone.promoted
    assert alone.level == pytest.approx(0.95)
    assert alone.unjudged == ("carbon", "AM")
    assert alone.remarks == ("No validation image holds carbon or AM: how well that is found is unjudged.",)


def test_a_sure_loss_within_bounds_is_taken_and_said():
    decision = decide(images(*[level(-0.008, -0.009, -0.008, -0.009, -0.008)] * 3), BEST, CLASSES)
    assert (decision.promoted, decision.verdict) == (True, SAME)
    assert "a loss, but surely of more than 0.01 in no class" in decision.reason
    assert (
        decide(
            images(*[level(-0.008, -0.009, -0.008, -0.009, -0.008)] * 3), BEST, CLASSES, max_class_loss=0.005
        ).verdict
        == WORSE
    )


def test_a_loss_that_chance_explains_is_taken():
    decision = decide(images(SAME_5, level(-0.3, 0.2, -0.2, 0.1, 0.05), SAME_5), BEST, CLASSES)
    assert (decision.promoted, decision.verdict) == (True, SAME)


def test_a_sure_gain_is_better():
    decision = decide(images(*[level(0.02, 0.03, 0.02, 0.03, 0.02)] * 3), BEST, CLASSES)
    assert (decision.promoted, decision.verdict) == (True, BETTER)
    assert "+0.024" in decision.reason


@pytest.mark.parametrize(("fall", "promoted"), [(0.029, True), (0.031, False), (-0.5, True)])
def test_few_groups_show_great_losses_only(fall, promoted):
    before = images(*[level(0, 0, 0, 0, of=0.5)] * 3)
    decision = decide(images(*[level(*[-fall] * 4, of=0.5)] * 3), before, CLASSES)
    assert (decision.promoted, decision.groups) == (promoted, 4)
    assert decision.verdict == (SAME if promoted else WORSE)
    assert "fewer than 5 groups" in decision.reason


def test_one_group_can_be_worse():
    assert not decide(images([0.6], [0.8], [0.8]), images([0.8], [0.8], [0.8]), CLASSES).promoted


def test_images_of_one_specimen_count_as_one():
    """Nine images that all lose 0.02 are five specimens here, and four there."""

    def grouped(score: float, groups: int) -> dict[str, Paired]:
        scores = {"mean_dice": score, **{f"dice.{of}": score for of in CLASSES}}
        return {str(n): Paired(f"s{n % groups}", scores) for n in range(9)}

    assert decide(grouped(0.78, 5), grouped(0.8, 5), CLASSES).verdict == WORSE
    assert decide(grouped(0.78, 4), grouped(0.8, 4), CLASSES).verdict == SAME


def test_a_class_that_few_groups_hold_is_pointed_out():
    """Nothing is sure of one specimen: the rule takes the model, the sentence sends people to look."""
    nan = math.nan
    before = images(SAME_5, [0.8, nan, nan, nan, nan], SAME_5)
    decision = decide(images(SAME_5, [0.1, nan, nan, nan, nan], SAME_5), before, CLASSES)
    assert (decision.promoted, decision.verdict) == (True, SAME)
    assert any("SE -0.700 (1 group)" in remark for remark in decision.remarks)


def test_force_takes_a_worse_model_and_says_so():
    worse = images(*[level(-0.1, -0.11, -0.1, -0.11, -0.1)] * 3)
    decision = decide(worse, BEST, CLASSES, forced=True)
    assert (decision.promoted, decision.verdict, decision.forced) == (True, WORSE, True)
    assert "by force although it is worse" in decision.reason
    harmless = decide(BEST, BEST, CLASSES, forced=True)
    assert (harmless.promoted, harmless.forced) == (True, False)


def test_models_judged_on_other_images_are_not_compared():
    with pytest.raises(ValueError, match="other images"):
        decide(BEST, {name: BEST[name] for name in "012"}, CLASSES)


@pytest.mark.parametrize("best", [BEST, None, {}])
def test_a_decision_survives_json(best):
    new = {} if best == {} else images(SAME_5, level(-0.2, -0.1, -0.2, -0.1, 0.0), [math.nan] * 5)
    if best:
        best = images(SAME_5, SAME_5, [math.nan] * 5)
    decision = decide(new, best, CLASSES)
    plain = json.loads(json.dumps(decision.plain(), allow_nan=False))
    assert json.loads(json.dumps(Decision.from_plain(plain).plain())) == plain


def test_the_gain_is_taken_on_common_images():
    gain = mean_gain(images(*[level(0.1, 0.1, 0.1)] * 3), images(*[level(0, 0, 0, 0, 0)] * 3))
    assert (gain.difference, gain.groups) == (pytest.approx(0.1), 3)


score = st.integers(0, 100).map(lambda points: points / 100)


@given(st.lists(st.tuples(score, score, score, score, score, score), max_size=8))
def test_worse_is_what_is_not_taken(rows):
    new = images(*map(list, zip(*[row[:3] for row in rows], strict=True))) if rows else {}
    best = images(*map(list, zip(*[row[3:] for row in rows], strict=True))) if rows else {}
    decision = decide(new, best, CLASSES)
    assert decision.promoted == (decision.verdict != WORSE)
    assert decision.reason.endswith(".")
    if decision.verdict == WORSE:
        assert decide(new, new, CLASSES).verdict == SAME
        back = decide(best, new, CLASSES)
        assert back.promoted or any(gain.difference < 0 for gain in back.per_class.values())
