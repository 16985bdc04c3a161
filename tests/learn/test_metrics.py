import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from srpu.learn.metrics import (
    boundary_f1,
    boundary_hits,
    boundary_score,
    confusion,
    dice,
    difference_interval,
    foreground_iou,
    interval,
    iou,
    macro_miou,
    mean_dice,
    micronet_iou,
    nan_mean,
    pixel_accuracy,
    precision,
    recall,
)

CLASSES = 3
ids = arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2, 255]))
labels = arrays(np.uint8, (6, 7), elements=st.integers(0, 2))


def disc(radius: float, size: int = 41) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size // 2
    return (np.hypot(x, y) < radius).astype(np.uint8)


@given(ids, ids)
def test_the_matrix_counts_every_judged_pixel_once(truth, prediction):
    matrix = confusion(truth, prediction, CLASSES)
    for true in range(CLASSES):
        for column, predicted in enumerate([0, 1, 2, 255]):
            assert matrix[true, column] == ((truth == true) & (prediction == predicted)).sum()
    assert matrix.dtype == np.int64


@given(ids, ids)
def test_scores_agree_with_sets_of_pixels(truth, prediction):
    matrix = confusion(truth, prediction, CLASSES)
    judged = truth != 255
    for id_ in range(CLASSES):
        true, predicted = (truth == id_) & judged, (prediction == id_) & judged
        both, either = (true & predicted).sum(), (true | predicted).sum()
        scores = [score(matrix)[id_] for score in (dice, iou, precision, recall)]
        if not either:
            assert all(math.isnan(score) for score in scores)
            continue
        assert scores[0] == pytest.approx(2 * both / (true.sum() + predicted.sum()))
        assert scores[1] == pytest.approx(both / either)
        assert scores[2] == (pytest.approx(both / predicted.sum()) if predicted.any() else 0)
        assert scores[3] == (pytest.approx(both / true.sum()) if true.any() else 0)


@given(ids, labels)
def test_micronet_iou_of_hard_labels_follows_from_accuracy(truth, prediction):
    matrix = confusion(truth, prediction, CLASSES)
    accuracy = pixel_accuracy(matrix)
    assert micronet_iou(matrix) == pytest.approx(accuracy / (2 - accuracy), nan_ok=True)


def test_micronet_iou_of_unsure_pixels_follows_the_definition_by_channels():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (20, 20)).astype(np.uint8)
    probabilities = rng.dirichlet([0.7, 0.7, 0.7], (20, 20)).transpose(2, 0, 1)
    channels, wanted = probabilities > 0.5, np.stack([truth == id_ for id_ in range(3)])
    sure = np.where(probabilities.max(axis=0) > 0.5, probabilities.argmax(axis=0), 255).astype(np.uint8)
    assert (sure == 255).any()
    expected = (channels & wanted).sum() / (channels | wanted).sum()
    assert micronet_iou(confusion(truth, sure, 3)) == pytest.approx(expected)


def test_a_class_that_nobody_has_is_no_success():
    truth, prediction = np.array([[0, 0, 0, 1]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8)
    matrix = confusion(truth, prediction, CLASSES)
    assert np.isnan(dice(matrix)).tolist() == [False, False, True]
    assert mean_dice(matrix) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert macro_miou(matrix) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_what_is_not_labelled_is_not_judged():
    nothing = np.full((4, 4), 255, np.uint8)
    matrix = confusion(nothing, np.zeros((4, 4), np.uint8), CLASSES)
    assert not matrix.any()
    for score in (mean_dice, macro_miou, pixel_accuracy, micronet_iou):
        assert math.isnan(score(matrix))
    assert math.isnan(foreground_iou(matrix, [1, 2]))
    assert np.isnan(boundary_f1(nothing, np.zeros((4, 4), np.uint8), CLASSES, 2)).all()


@given(ids, labels)
def test_foreground_iou_takes_the_classes_together(truth, prediction):
    score = foreground_iou(confusion(truth, prediction, CLASSES), [1, 2])
    judged = truth != 255
    true, predicted = judged & (truth > 0), judged & (prediction > 0)
    expected = (true & predicted).sum() / (true | predicted).sum() if (true | predicted).any() else math.nan
    assert score == pytest.approx(expected, nan_ok=True)


def test_background_alone_finds_no_foreground():
    assert foreground_iou(confusion(disc(9), np.zeros((41, 41), np.uint8), CLASSES), [1, 2]) == 0


@pytest.mark.parametrize(("growth", "tolerance", "perfect"), [(2, 3, True), (4, 2, False)])
def test_boundaries_within_the_tolerance_count_as_found(growth, tolerance, perfect):
    scores = boundary_f1(disc(10), disc(10 + growth), 2, tolerance)
    assert (scores == 1).all() if perfect else (scores < 0.2).all()


def test_boundary_distance_is_euclidean():
    truth, prediction = np.zeros((30, 30), np.uint8), np.zeros((30, 30), np.uint8)
    truth[10, 10], prediction[13, 14] = 1, 1
    assert boundary_f1(truth, prediction, 2, 4.99)[1] == 0
    assert boundary_f1(truth, prediction, 2, 5)[1] == 1


def test_the_edge_of_the_picture_and_of_the_labelled_area_are_no_boundaries():
    truth = np.full((20, 20), 255, np.uint8)
    truth[5:15, 5:15] = 0
    assert np.isnan(boundary_f1(truth, np.zeros_like(truth), 2, 2)).all()


def test_boundary_errors_where_nothing_is_labelled_do_not_count():
    truth, prediction = disc(10), disc(10)
    prediction[:6] = 1
    truth[:8] = 255
    assert boundary_f1(truth, prediction, 2, 1).tolist() == [1, 1]


def test_an_imagined_and_a_missed_class_have_boundary_zero():
    blank = np.zeros((41, 41), np.uint8)
    assert boundary_f1(blank, disc(8), 2, 2).tolist() == [0, 0]
    assert boundary_f1(disc(8), blank, 2, 2).tolist() == [0, 0]


def test_counts_of_two_images_add_up():
    pairs = [(disc(8), disc(9)), (disc(12), disc(15))]
    total = sum(boundary_hits(*pair, 2, 1) for pair in pairs)
    side_by_side = [np.hstack([pair[part] for pair in pairs]) for part in (0, 1)]
    assert boundary_score(total).tolist() == boundary_f1(*side_by_side, 2, 1).tolist()


def test_the_interval_is_students_over_group_means():
    mean, low, high = interval({"a": [0.4, 0.6], "b": [0.6], "c": [0.7, math.nan]})
    assert mean == pytest.approx(0.6)
    reach = 4.302653 * 0.1 / math.sqrt(3)  # t for two degrees of freedom
    assert (low, high) == (pytest.approx(0.6 - reach), pytest.approx(0.6 + reach))


def test_the_interval_of_two_groups_is_cut_to_what_scores_can_be():
    assert interval({"a": [0.5], "b": [0.9]})[1:] == (0, 1)


def test_the_interval_of_differences_is_not_cut():
    """The deviation of 0.9 and -0.9 is 0.9 × √2, and t for one degree of freedom 12.706."""
    assert difference_interval({"a": [0.9], "b": [-0.9]}) == pytest.approx((0, -12.706205 * 0.9, 12.706205 * 0.9))
    assert interval({"a": [0.9], "b": [-0.9]}) == (0, 0, 1)


def test_a_surer_interval_reaches_further():
    groups = {"a": [0.9], "b": [-0.9]}
    assert difference_interval(groups, 0.99) == pytest.approx((0, -63.656741 * 0.9, 63.656741 * 0.9))
    assert difference_interval(groups, 0.95) == difference_interval(groups)


@pytest.mark.parametrize("groups", [{}, {"a": [0.5, 0.9]}, {"a": [0.7], "b": [math.nan]}])
def test_fewer_than_two_groups_have_no_interval(groups):
    mean, low, high = interval(groups)
    assert mean == pytest.approx(0.7 if groups else math.nan, nan_ok=True)
    assert math.isnan(low)
    assert math.isnan(high)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = [
        low <= 0.5 <= high
        for draws in rng.normal(0.5, 0.05, (2000, 4))
        for _, low, high in [interval({str(i): [x] for i, x in enumerate(draws)})]
    ]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)


def test_the_mean_of_nothing_is_undefined():
    assert math.isnan(nan_mean([]))
    assert math.isnan(nan_mean([math.nan]))


@pytest.mark.shared_data
def test_published_sanity_values(shared_data):
    """All background, and the truth moved by one row, on the test images of two public sets."""

    def truths(folder: str, protocol: str) -> list[np.ndarray]:
        root = shared_data / folder
        names = json.loads((root / "splits.json").read_text(encoding="utf-8"))[protocol]["test"]
        return [np.asarray(Image.open(root / "masks" / f"{name}.png")) for name in names]

    def score(truth: list[np.ndarray], predicted: list[np.ndarray], metric) -> float:
        return nan_mean([metric(confusion(t, p, 3)) for t, p in zip(truth, predicted, strict=True)])

    superalloy, coating = truths("superalloy", "super1"), truths("barrier_coating", "ebc1")
    assert score(superalloy, [np.zeros_like(t) for t in superalloy], micronet_iou) == pytest.approx(0.314, abs=5e-4)
    moved = ([t[1:] for t in superalloy], [t[:-1] for t in superalloy])
    assert score(*moved, micronet_iou) == pytest.approx(0.953, abs=5e-4)

    def oxide(matrix: np.ndarray) -> float:
        return foreground_iou(matrix, [1, 2])

    assert score([t[1:] for t in coating], [t[:-1] for t in coating], oxide) == pytest.approx(0.986, abs=5e-4)
    assert score(coating, [np.zeros_like(t) for t in coating], oxide) == 0
