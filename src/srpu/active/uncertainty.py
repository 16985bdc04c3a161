"""How unsure a model is about each pixel, and about a whole image.

Every strategy maps class probabilities to a map in [0, 1]; 0 means certain. An image's score is the mean of its map
over the pixels that count.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from inspect import getmembers, isfunction
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from srpu.errors import SettingsError

Strategy = Callable[[Float[Tensor, "b c h w"]], Float[Tensor, "b h w"]]

NEAR = 5
"""Pixels from a predicted boundary that :func:`boundary` counts in full."""


def entropy(probabilities: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
    """Shannon entropy over the classes, divided by log(c) so that uniform probabilities give 1.

    >>> round(entropy(torch.full((1, 3, 1, 1), 1 / 3)).item(), 4)
    1.0
    """
    total = torch.zeros_like(probabilities[:, 0])
    for plane in probabilities.unbind(dim=1):  # class by class: no second copy of all planes
        total += torch.special.entr(plane)
    return total.div_(math.log(probabilities.shape[1])).clamp_(0, 1)


def confidence(probabilities: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
    """What the most probable class lacks to certainty, scaled so that uniform probabilities give 1.

    >>> round(confidence(torch.tensor([0.5, 0.25, 0.25]).reshape(1, 3, 1, 1)).item(), 4)
    0.75
    """
    classes = probabilities.shape[1]
    return (1 - probabilities.amax(dim=1)).mul_(classes / (classes - 1)).clamp_(0, 1)


def margin(probabilities: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
    """How close the second class comes to the first: 1 minus the difference of their probabilities.

    >>> round(margin(torch.tensor([0.5, 0.3, 0.2]).reshape(1, 3, 1, 1)).item(), 4)
    0.8
    """
    first, second = probabilities[:, 0], torch.zeros_like(probabilities[:, 0])
    for plane in probabilities.unbind(dim=1)[1:]:  # five times faster than topk
        second = torch.maximum(second, torch.minimum(first, plane))
        first = torch.maximum(first, plane)
    return (1 - first + second).clamp_(0, 1)


def boundary(probabilities: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
    """Entropy where a predicted boundary is near, a quarter of it elsewhere: large areas do not drown thin layers."""
    ids = probabilities.argmax(dim=1).to(torch.uint8).cpu().numpy()
    weights = np.stack([_near_boundary(one) for one in ids])
    return entropy(probabilities) * torch.from_numpy(weights).to(probabilities)


STRATEGIES: dict[str, Strategy] = {"entropy": entropy, "confidence": confidence, "margin": margin, "boundary": boundary}

ENSEMBLE = "ensemble"
"""The strategy that needs several models, see :class:`Ensemble`."""


class Ensemble:
    """How much the members of an ensemble disagree, in memory that does not grow with their number.

    The mutual information of prediction and member: the entropy of the mean minus the mean of the entropies (BALD,
    Houlsby et al., arXiv:1112.5745), divided by log(c).
    """

    def __init__(self) -> None:
        self._mean: Tensor | None = None
        self._entropy: Tensor | None = None
        self._members = 0

    def add(self, probabilities: Float[Tensor, "b c h w"]) -> None:
        """One more member's probabilities."""
        own = entropy(probabilities)
        self._mean = probabilities.clone() if self._mean is None else self._mean.add_(probabilities)
        self._entropy = own if self._entropy is None else self._entropy.add_(own)
        self._members += 1

    @property
    def mean(self) -> Float[Tensor, "b c h w"]:
        """The mean of the members' probabilities."""
        assert self._mean is not None  # noqa: S101  (nobody asks before adding)
        return self._mean / self._members

    def disagreement(self) -> Float[Tensor, "b h w"]:
        """Zero where all members say the same, 1 where each is certain of another class."""
        assert self._entropy is not None  # noqa: S101
        return (entropy(self.mean) - self._entropy / self._members).clamp_(0, 1)


def own_strategies(path: Path) -> dict[str, Strategy]:
    """The functions of a user's file, by name; each is checked when it is called.

    Raises:
        SettingsError: The file does not exist or cannot be run.
    """
    if not path.is_file():
        raise SettingsError(f"There is no {path}: own strategies are functions in that file.")
    spec = importlib.util.spec_from_file_location("srpu_own_strategies", path)
    assert spec is not None  # noqa: S101  (a .py file always has one)
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        raise SettingsError(f"{path} cannot be run ({type(error).__name__}: {error}); correct it.") from error
    own = getmembers(module, lambda one: isfunction(one) and one.__module__ == module.__name__)
    return {name: _checked(name, function, path) for name, function in own if not name.startswith("_")}


def _checked(name: str, function: Strategy, path: Path) -> Strategy:
    """``function``, whose answers are looked at."""

    def strategy(probabilities: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
        try:
            answer = function(probabilities)
        except Exception as error:  # the user's code may raise anything
            raise SettingsError(f"{name} in {path} fails ({type(error).__name__}: {error}); correct it.") from error
        wanted = (probabilities.shape[0], *probabilities.shape[2:])
        if not isinstance(answer, Tensor) or tuple(answer.shape) != wanted:
            given = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
            raise SettingsError(f"{name} in {path} gives {given} instead of a tensor of shape {wanted}; correct it.")
        low, high = float(answer.min()), float(answer.max())
        if not (low >= 0 and high <= 1):
            raise SettingsError(
                f"{name} in {path} gives values from {low:.3g} to {high:.3g}; they must lie in 0 to 1, so scale them."
            )
        return answer

    return strategy


def _near_boundary(ids: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    kernel = np.ones((3, 3), np.uint8)
    edges = (cv2.dilate(ids, kernel) != cv2.erode(ids, kernel)).astype(np.uint8)
    near = cv2.dilate(edges, np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8))
    return np.where(near > 0, np.float32(1), np.float32(0.25))
