"""How well a predicted mask agrees with a true one.

Everything starts from one confusion matrix (rows: true class, columns: predicted class, one more column for pixels that
were given no class). Matrices of several images add up, and every score but the boundary's is a function of the matrix.
Pixels that the truth marks as ignored are never counted. A class that neither mask holds has no score (NaN): to find
nothing where there is nothing is no success.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from srpu.data.classes import IGNORE

Matrix = Int64[np.ndarray, "c c+1"]
Hits = Int64[np.ndarray, "c 4"]
PerClass = Float[np.ndarray, " c"]
Ids = UInt8[np.ndarray, "h w"]


def confusion(truth: Ids, prediction: Ids, classes: int) -> Matrix:
    """Count how often each true class was predicted as each class; the last column counts "no class predicted".

    Pixels whose truth is 255 are left out. A prediction that is no class id, as 255, goes to the last column.

    >>> truth = np.array([[0, 0, 1, 255]], np.uint8)
    >>> confusion(truth, np.array([[0, 1, 255, 1]], np.uint8), classes=2).tolist()
    [[1, 1, 0], [0, 0, 1]]
    """
    judged = truth != IGNORE
    columns = np.minimum(prediction[judged], classes).astype(np.int64)
    cells = truth[judged].astype(np.int64) * (classes + 1) + columns
    return np.bincount(cells, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def dice(matrix: Matrix) -> PerClass:
    """Twice the common area over the sum of both areas, 0 to 1, per class; NaN where neither mask holds the class.

    >>> dice(np.array([[3, 1, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0]])).round(3).tolist()
    [0.857, 0.889, nan]
    """
    both, true, predicted = _areas(matrix)
    return _ratio(2 * both, true + predicted)


def iou(matrix: Matrix) -> PerClass:
    """Common area over joint area (Jaccard), 0 to 1, per class; NaN where neither mask holds the class."""
    both, true, predicted = _areas(matrix)
    return _ratio(both, true + predicted - both)


def precision(matrix: Matrix) -> PerClass:
    """Share of what was predicted as the class that truly is; 0 for a class that was missed altogether.

    NaN where neither mask holds the class.
    """
    both, true, predicted = _areas(matrix)
    return np.where(true + predicted > 0, both / np.maximum(predicted, 1), np.nan)


def recall(matrix: Matrix) -> PerClass:
    """Share of the true class that was predicted as such; 0 for a class that was only imagined.

    NaN where neither mask holds the class.
    """
    both, true, predicted = _areas(matrix)
    return np.where(true + predicted > 0, both / np.maximum(true, 1), np.nan)


def mean_dice(matrix: Matrix) -> float:
    """Mean Dice over the classes that occur; NaN if nothing was judged."""
    return nan_mean(dice(matrix))


def macro_miou(matrix: Matrix) -> float:
    """Mean IoU over the classes that occur, each counting the same; NaN if nothing was judged."""
    return nan_mean(iou(matrix))


def pixel_accuracy(matrix: Matrix) -> float:
    """Share of the judged pixels that are right; NaN if nothing was judged.

    >>> pixel_accuracy(np.array([[3, 1, 0], [0, 4, 0]]))
    0.875
    """
    return _share(int(np.trace(matrix)), int(matrix.sum()))


def micronet_iou(matrix: Matrix) -> float:
    """IoU with intersection and union summed over all classes (MicroNet: Stuckner et al., npj Comput. Mater. 2022).

    The matrix is to hold a pixel as "no class" where no class's probability exceeds 0.5. With hard labels the score
    equals accuracy / (2 - accuracy).

    >>> round(micronet_iou(np.array([[3, 1, 0], [0, 4, 0]])), 4) == round(0.875 / (2 - 0.875), 4)
    True
    """
    both, true, predicted = _areas(matrix)
    return _share(int(both.sum()), int((true + predicted - both).sum()))


def foreground_iou(matrix: Matrix, foreground: Sequence[int]) -> float:
    """IoU of the classes ``foreground`` taken together; NaN where neither mask holds any of them.

    >>> foreground_iou(np.array([[5, 1, 0, 0], [0, 2, 1, 0], [1, 0, 0, 0]]), foreground=[1, 2])
    0.6
    """
    chosen = list(foreground)
    both = int(matrix[np.ix_(chosen, chosen)].sum())
    return _share(both, int(matrix[chosen].sum() + matrix[:, chosen].sum()) - both)


def boundary_f1(truth: Ids, prediction: Ids, classes: int, tolerance: float) -> PerClass:
    """How well the outlines of each class agree, 0 to 1 (Csurka et al., BMVC 2013).

    Args:
        truth: True class ids; 255 is not judged, and an edge towards it is no outline.
        prediction: Predicted class ids.
        classes: Number of classes.
        tolerance: Distance in pixels within which an outline counts as found.

    Returns:
        The harmonic mean of the found shares of both outlines; NaN where neither mask has an outline of the class.

    >>> truth, prediction = np.array([[0, 0, 1, 1, 1]] * 4, np.uint8), np.array([[0, 0, 0, 0, 1]] * 4, np.uint8)
    >>> [boundary_f1(truth, prediction, classes=2, tolerance=t).tolist() for t in (1, 2)]
    [[0.0, 0.0], [1.0, 1.0]]
    """
    return boundary_score(boundary_hits(truth, prediction, classes, tolerance))


def boundary_hits(truth: Ids, prediction: Ids, classes: int, tolerance: float) -> Hits:
    """What :func:`boundary_f1` counts; the counts of several images add up.

    Returns:
        For each class: predicted outline pixels near the true outline, all predicted outline pixels, true outline
        pixels near the predicted outline, all true outline pixels.
    """
    judged = truth != IGNORE
    hits = np.zeros((classes, 4), np.int64)
    for id_ in range(classes):
        true, predicted = _outline(truth == id_, judged), _outline(prediction == id_, judged)
        hits[id_] = (
            (predicted & _near(true, tolerance)).sum(),
            predicted.sum(),
            (true & _near(predicted, tolerance)).sum(),
            true.sum(),
        )
    return hits


def boundary_score(hits: Hits) -> PerClass:
    """The boundary F1 of each class from the counts of :func:`boundary_hits`."""
    right, predicted, found, true = hits.T
    exact, complete = right / np.maximum(predicted, 1), found / np.maximum(true, 1)
    harmonic = 2 * exact * complete / np.where(exact + complete > 0, exact + complete, 1)
    return np.where(predicted + true > 0, harmonic, np.nan)


def interval(values_by_group: Mapping[str, Sequence[float]]) -> tuple[float, float, float]:
    """Mean over groups with its 95 % confidence interval (Student's t on the group means).

    Images of one specimen resemble each other, so the specimen, not the image, is the unit that is counted. Undefined
    values (NaN) are left out. The interval is cut to 0..1, where scores lie.

    Returns:
        Mean, lower end, upper end; both ends are NaN with fewer than two groups.

    >>> tuple(round(x, 3) for x in interval({"a": [0.8, 0.9], "b": [0.87], "c": [0.89]}))
    (0.87, 0.82, 0.92)
    >>> interval({"a": [0.5, 0.7]})
    (0.6, nan, nan)
    """
    mean, low, high = difference_interval(values_by_group)
    return mean, float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


def difference_interval(
    values_by_group: Mapping[str, Sequence[float]], level: float = 0.95
) -> tuple[float, float, float]:
    """The same as :func:`interval` for differences of scores, which may lie on either side of 0: nothing is cut off.

    Args:
        values_by_group: Differences, by group.
        level: How often intervals of this kind hold the true difference, between 0 and 1.

    Returns:
        Mean, lower end, upper end; both ends are NaN with fewer than two groups.

    For group means 0.2, 0.1 and 0, t with two degrees of freedom reaches 4.303 × 0.1 / √3 = 0.248 to either side:

    >>> tuple(round(x, 3) for x in difference_interval({"a": [0.3, 0.1], "b": [0.1], "c": [0.0]}))
    (0.1, -0.148, 0.348)
    """
    from scipy.special import stdtrit

    means = np.array([mean for values in values_by_group.values() if not math.isnan(mean := nan_mean(values))])
    mean = nan_mean(means)
    if len(means) < 2:
        return mean, math.nan, math.nan
    reach = float(stdtrit(len(means) - 1, (1 + level) / 2) * means.std(ddof=1) / math.sqrt(len(means)))
    return mean, mean - reach, mean + reach


def nan_mean(values: Sequence[float] | Float[np.ndarray, " n"]) -> float:
    """Mean of the values that are defined; NaN if none is."""
    array = np.asarray(values, np.float64)
    defined = array[~np.isnan(array)]
    return float(defined.mean()) if defined.size else math.nan


def _areas(matrix: Matrix) -> tuple[Int64[np.ndarray, " c"], Int64[np.ndarray, " c"], Int64[np.ndarray, " c"]]:
    """For each class: pixels right, pixels in the truth, pixels in the prediction."""
    return np.diagonal(matrix), matrix.sum(axis=1), matrix[:, :-1].sum(axis=0)


def _ratio(part: Int64[np.ndarray, " c"], whole: Int64[np.ndarray, " c"]) -> PerClass:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _outline(inside: Bool[np.ndarray, "h w"], judged: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Judged pixels of a class that touch, along an edge, a judged pixel of another class."""
    inside, outside = inside & judged, ~inside & judged
    touched = np.zeros(outside.shape, np.bool_)
    touched[1:] |= outside[:-1]
    touched[:-1] |= outside[1:]
    touched[:, 1:] |= outside[:, :-1]
    touched[:, :-1] |= outside[:, 1:]
    touched &= inside
    return touched


def _near(outline: Bool[np.ndarray, "h w"], tolerance: float) -> Bool[np.ndarray, "h w"]:
    """Pixels within ``tolerance`` pixels of an outline."""
    if not outline.any():  # OpenCV leaves the distance to nothing undefined
        return outline
    distance = cv2.distanceTransform((~outline).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= tolerance + 1e-6, np.bool_)
