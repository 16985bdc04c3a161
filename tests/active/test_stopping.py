from __future__ import annotations

import math

import pytest

from srpu.active.stopping import Gain, Stop, StopRules, current_before, reasons_to_stop

RULES = StopRules(max_rounds=20, label_budget=100, target_score=0.9)
ON = {"rounds": 8, "pool": 50, "answers": 40, "score": 0.8, "gain": Gain(0.03, 0.01, 0.05, 8)}


def stop(rules: StopRules = RULES, **changes: object) -> Stop:
    return reasons_to_stop(rules, **{**ON, **changes})  # type: ignore[arg-type]


def test_rounds_go_on_while_no_rule_ends_them() -> None:
    assert stop() == Stop((), ())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rounds": 20}, "All 20 rounds"),
        ({"rounds": 25}, "All 20 rounds"),
        ({"pool": 0}, "pool is empty"),
        ({"answers": 100}, "100 masks were taken in, and LABEL_BUDGET = 100."),
        ({"answers": 101}, "101 masks"),
        ({"score": 0.9}, "0.900 has reached TARGET_SCORE = 0.9."),
        ({"gain": Gain(0.001, -0.008, 0.009, 5)}, "+0.001 [-0.008, +0.009] in 5 groups: even the upper end is below"),
        ({"gain": Gain(0, 0, 0, 5)}, "+0.000 [+0.000, +0.000]"),
    ],
)
def test_each_rule_ends_them_with_one_sentence(changes: dict[str, object], said: str) -> None:
    (reason,) = stop(**changes).reasons
    assert said in reason
    assert reason.endswith(".")


@pytest.mark.parametrize("changes", [{"rounds": 19}, {"pool": 1}, {"answers": 99}, {"score": 0.8999}])
def test_one_before_the_end_they_go_on(changes: dict[str, object]) -> None:
    assert not stop(**changes).reasons


def test_all_reasons_are_told() -> None:
    assert len(stop(rounds=20, pool=0, answers=100, score=1.0, gain=Gain(0, -0.001, 0.001, 9)).reasons) == 5


@pytest.mark.parametrize("gain", [Gain(0.002, -0.02, 0.0101, 30), Gain(-0.05, -0.2, 0.1, 6), Gain(0.0, 0.0, 0.01, 6)])
def test_a_gain_that_may_be_large_is_waited_for(gain: Gain) -> None:
    """However small its mean is."""
    assert stop(gain=gain) == Stop((), ())


@pytest.mark.parametrize("groups", [0, 1, 4])
def test_few_groups_never_end_the_rounds(groups: int) -> None:
    ends = (math.nan, math.nan) if groups < 2 else (-0.001, 0.001)
    stopped = stop(gain=Gain(0.0, *ends, groups))
    assert not stopped.reasons
    assert f"{groups} validation group{'s' * (groups != 1)}, and it takes 5" in stopped.notes[0]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"gain": None, "rounds": 5}, "after 6 rounds"),
        ({"gain": None}, "no model of then and now"),
        ({"gain": Gain(math.nan, math.nan, math.nan, 0)}, "no model of then and now"),
        ({"score": None}, "TARGET_SCORE cannot be judged"),
        ({"score": math.nan}, "TARGET_SCORE cannot be judged"),
    ],
)
def test_what_cannot_be_judged_is_said(changes: dict[str, object], note: str) -> None:
    stopped = stop(**changes)
    assert not stopped.reasons
    assert note in " ".join(stopped.notes)


def test_no_budget_and_no_target_end_nothing() -> None:
    assert stop(StopRules(max_rounds=20), answers=10**6, score=1.0) == Stop((), ())


@pytest.mark.parametrize(
    ("promoted", "rounds", "then"),
    [([], 9, None), ([1], 5, None), ([1], 6, 1), ([1, 3, 4, 8], 9, 4), ([1, 3], 9, 3), ([7], 9, None)],
)
def test_the_model_of_then_is_the_one_that_was_current(promoted: list[int], rounds: int, then: int | None) -> None:
    assert current_before(promoted, rounds, patience=5) == then
