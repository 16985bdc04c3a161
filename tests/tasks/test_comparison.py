"""What differences of scores mean, with numbers one can check by hand; test_evaluate_task.py tries the verb."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srpu.data.classes import ClassMap
from srpu.tasks.comparison import BETTER, SAME, UNKNOWN, WORSE, Comparison, compare, paired_scores, verdict

CLASSES = ClassMap(("carbon", "SE"), ((0, 0, 0), (255, 0, 0)))

difference = st.integers(-100, 100).map(lambda hundredths: hundredths / 100)
image = difference | st.just(math.nan)


def by_group(count: st.SearchStrategy[int]) -> st.SearchStrategy[dict[str, list[float]]]:
    return count.flatmap(
        lambda n: st.fixed_dictionaries(
            {f"specimen {i}": st.lists(difference, min_size=1, max_size=3) for i in range(n)}
        )
    )


def swapped(groups: dict[str, list[float]]) -> dict[str, list[float]]:
    return {group: [-value for value in values] for group, values in groups.items()}


def alone(*values: float) -> dict[str, list[float]]:
    return {str(number): [value] for number, value in enumerate(values)}


@given(by_group(st.integers(5, 9)))
def test_with_enough_groups_swapping_the_sides_flips_the_verdict(groups):
    flipped = {BETTER: WORSE, WORSE: BETTER, SAME: SAME}
    assert verdict(swapped(groups)) == flipped[verdict(groups)]


@given(by_group(st.integers(0, 4)))
def test_with_few_groups_nothing_is_better(groups):
    said = verdict(groups)
    assert said in ((SAME, WORSE) if len(groups) > 1 else (UNKNOWN,))
    if said == WORSE:
        assert verdict(swapped(groups)) == SAME


@given(st.lists(st.tuples(image, image, st.sampled_from("abcdefg")), max_size=20))
def test_swapping_the_sides_flips_the_difference(rows):
    this, other, groups = zip(*rows, strict=True) if rows else ((), (), ())
    there, back = compare(this, other, groups), compare(other, this, groups)
    forth = (there.this, there.other, there.difference, there.low, there.high)
    mirrored = (back.other, back.this, -back.difference, -back.high, -back.low)
    np.testing.assert_allclose(forth, mirrored, atol=1e-12)
    np.testing.assert_allclose(there.difference, there.this - there.other, atol=1e-12)
    assert there.groups == back.groups == len({g for a, b, g in rows if not math.isnan(a + b)})


def test_each_group_counts_once_and_images_are_paired():
    """Group a: (0.2 + 0.0) / 2 = 0.1; group b: 0.3; an image where one side has no score is left out."""
    got = compare([0.9, 0.5, 0.8, 0.7], [0.7, 0.5, 0.5, math.nan], ["a", "a", "b", "c"])
    assert (got.this, got.other, got.difference, got.groups) == pytest.approx((0.75, 0.55, 0.2, 2))
    reach = 12.706205 * math.sqrt(0.02) / math.sqrt(2)  # t for one degree of freedom; the deviation of 0.1 and 0.3
    assert (got.low, got.high) == pytest.approx((0.2 - reach, 0.2 + reach))
    assert got.verdict == SAME


def test_images_of_one_specimen_are_no_independent_witnesses():
    """Ten images that all gain, of one specimen and of ten."""
    this, other = np.linspace(0.8, 0.9, 10), np.full(10, 0.7)
    assert compare(this, other, ["a"] * 10).verdict == UNKNOWN
    assert compare(this, other, list("abcdefghij")).verdict == BETTER


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        (alone(), UNKNOWN),
        (alone(-0.9), UNKNOWN),
        (alone(-0.9, math.nan), UNKNOWN),
        (alone(-0.04, -0.07), WORSE),  # every group, 0.055 on average
        (alone(-0.04, -0.05), SAME),  # 0.045 on average
        (alone(0.01, -0.3, -0.3), SAME),  # one group gains
        (alone(0.0, -0.3, -0.3), SAME),
        (alone(0.5, 0.5, 0.5, 0.5), SAME),
        (alone(*[0.0] * 5), SAME),
        (alone(0.01, 0.02, 0.01, 0.02, 0.01), BETTER),
        (alone(0.1, 0.1, 0.1, 0.1, -0.1), SAME),
        (alone(-0.01, -0.02, -0.01, -0.02, -0.01), WORSE),
    ],
)
def test_what_differences_say(differences, said):
    assert verdict(differences) == said


def says(this: str = "this model", **scores: list[float]) -> Comparison:
    """A comparison of which each score was 0.5 on the other side, one image per group."""
    found = {
        name: compare([0.5 + x for x in values], [0.5] * len(values), map(str, range(len(values))))
        for name, values in {f"{'' if name == 'mean_dice' else 'dice.'}{name}": v for name, v in scores.items()}.items()
    }
    return Comparison(this, "old.pth", CLASSES, found, [], [], [], 6)


def test_a_class_that_one_side_imagines_does_not_change_what_means_are_taken_over():
    three = ClassMap(("carbon", "SE", "AM"), ((0, 0, 0), (255, 0, 0), (0, 255, 0)))
    coarse = np.array([[90, 10, 0, 0], [0, 100, 0, 0], [0, 0, 0, 0]])
    stray = np.array([[99, 0, 1, 0], [0, 100, 0, 0], [0, 0, 0, 0]])  # all right but one pixel of a third class
    ours, theirs = paired_scores(coarse, three), paired_scores(stray, three)
    assert theirs["mean_dice"] == pytest.approx((198 / 199 + 1) / 2)
    assert ours["mean_dice"] == pytest.approx((180 / 190 + 200 / 210) / 2)
    assert ours["mean_iou"] < theirs["mean_iou"]
    assert math.isnan(theirs["dice.AM"])


def test_the_verdict_is_one_sentence():
    gain, loss = [0.1] * 5, [-0.1, -0.2]
    assert says(mean_dice=gain, carbon=gain, SE=[-x for x in gain]).sentence == (
        "This model is better than old.pth: mean Dice +0.100 [+0.100, +0.100] over 5 groups; worse for SE."
    )
    assert says("these masks", mean_dice=loss, carbon=loss, SE=[]).sentence == (
        "These masks are worse than old.pth: mean Dice -0.150 [-0.785, +0.485] over 2 groups; every group loses, more "
        "than 0.05 on average."
    )
    one = says(mean_dice=[0.3], carbon=[0.3], SE=[math.nan])
    assert one.verdict == SAME
    assert one.sentence == (
        "This model is not distinguishable from old.pth: mean Dice +0.300 [n/a] over 1 group; fewer than 5 groups "
        "cannot show a gain or a small loss."
    )


def test_scores_that_are_not_defined_are_null_in_json_and_n_a_in_csv():
    comparison = says(mean_dice=[0.25], carbon=[math.nan], SE=[0.25])
    assert comparison.json()["scores"]["dice.carbon"] == {
        "this": None, "other": None, "difference": None, "low": None, "high": None, "groups": 0, "verdict": "n/a",
    }  # fmt: skip
    assert comparison.csv().lstrip("\ufeff").splitlines()[:3] == [
        "score,this,other,difference,low,high,groups,verdict",
        "mean_dice,0.75,0.5,0.25,n/a,n/a,1,n/a",
        "dice.carbon,n/a,n/a,n/a,n/a,n/a,0,n/a",
    ]
