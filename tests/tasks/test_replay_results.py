"""What simulated rounds are said to have found, from numbers that can be checked by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from srpu.files import read_json, write_json
from srpu.tasks.replay_ground import Plan, Step
from srpu.tasks.replay_report import curves_picture, lines, table
from srpu.tasks.replay_results import Replayed


def run_of(*scores: float) -> list[Step]:
    """Rounds at 1, 2, 4 … % of the pixels."""
    return [Step(0.01 * 2**i, 100 * 2**i, {"iou": score}) for i, score in enumerate(scores)]


def replayed(mix: list[list[Step]], random: list[list[Step]], full: float | None = 0.8) -> Replayed:
    runs = {"mix": dict(enumerate(mix)), "random": dict(enumerate(random))}
    return Replayed(Path(), Plan(), runs, {} if full is None else {0: Step(1, 10_000, {"iou": full})})


BETTER = replayed(
    [run_of(0.5, 0.7, 0.8), run_of(0.5, 0.72, 0.82), run_of(0.5, 0.71, 0.81)],
    [run_of(0.5, 0.6, 0.7), run_of(0.5, 0.6, 0.7), run_of(0.5, 0.6, 0.7)],
)


def test_labels_needed_are_read_off_the_mean_curve() -> None:
    assert BETTER.needed("mix", 0.90) == pytest.approx(0.02 + 0.02 * (0.72 - 0.71) / 0.10)
    assert BETTER.needed("random", 0.90) is None


def test_strategies_are_compared_seed_by_seed() -> None:
    found = BETTER.compare("mix", "random")
    assert found is not None
    areas = [(0.6 + 0.75) / 2 - 0.6, (0.61 + 0.77) / 2 - 0.6, (0.605 + 0.76) / 2 - 0.6]
    assert found.difference.mean == pytest.approx(sum(areas) / 3)
    assert (found.difference.verdict, found.cells_won) == ("yes", 1.0)


def test_only_seeds_that_both_have_are_compared() -> None:
    found = replayed([run_of(0.5, 0.7), run_of(0.5, 0.7)], [run_of(0.5, 0.6)]).compare("mix", "random")
    assert found is not None
    assert (found.difference.seeds, found.difference.verdict) == (1, "not distinguishable")


def test_the_sentence_tells_the_verdict_and_the_price() -> None:
    words = BETTER.sentence()
    assert words.startswith(
        "Did active learning save labels here: yes. Over all rounds mix differs from chance by +0.08"
    )
    assert words.endswith("98% of the score of all labels took 3.5% of the pixels, by chance more than was labelled.")


def test_without_a_run_of_all_labels_no_price_is_told() -> None:
    alone = replayed([run_of(0.5, 0.6)], [run_of(0.5, 0.6)], full=None)
    assert alone.sentence().endswith("differs from chance by +0.0000 in mean IoU (1 seed).")
    assert table(alone)[0] == ("mix", "1", "0.6000 at 2.0%", "n/a", "n/a", "n/a")


def test_the_table_says_how_far_a_strategy_went_where_it_did_not_arrive() -> None:
    rows = table(BETTER)
    assert rows[1] == ("random", "3", "0.7000 at 4.0%", "> 4.0%", "> 4.0%", "> 4.0%")
    assert len(lines(BETTER)) == 1 + 3 + 1 + 1


def test_numbers_that_are_not_defined_survive_a_file(tmp_path: Path) -> None:
    step = Step(0.5, 7, {"iou": 0.5, "iou/AM": math.nan}, ("a",))
    write_json(tmp_path / "step.json", step.state())
    again = Step.from_state(read_json(tmp_path / "step.json"))
    assert math.isnan(again.scores["iou/AM"])
    assert (again.share, again.pixels, again.scores["iou"], again.asked) == (0.5, 7, 0.5, ("a",))


def test_what_is_found_is_plain_json() -> None:
    alone = replayed([run_of(0.5, 0.7)], [run_of(0.5, 0.6)]).state()
    told = json.loads(json.dumps(alone, allow_nan=False))
    assert told["comparisons"][0]["difference"]["low"] is None


def test_the_picture_shows_runs_of_different_lengths() -> None:
    uneven = replayed([run_of(0.5, 0.7), run_of(0.5, 0.7, 0.8)], [run_of(0.5)])
    picture = curves_picture(uneven)
    assert picture.std() > 0
    assert picture.shape[2] == 3
