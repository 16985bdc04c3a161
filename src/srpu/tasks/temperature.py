"""The temperature that a trained model gets from its validation images."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from srpu.learn.calibrate import BOUNDS, PixelSampler, cross_entropies, fit_temperature
from srpu.learn.predict import predict_bands
from srpu.progress import track
from srpu.tasks.validation import Validation

log = logging.getLogger(__name__)

LEAST_IMAGES = 2
"""One image alone says how sure to be of that image, not of others."""


@dataclass(frozen=True)
class Fitted:
    """A temperature, and on how many labelled validation images it was fitted; 1 if there were too few."""

    temperature: float
    images: int

    def facts(self) -> dict[str, Any]:
        """For the run's manifest."""
        return {"temperature": self.temperature, "images": self.images, "how": self.sentence}

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        if self.images < LEAST_IMAGES:
            return (
                f"Probabilities are not calibrated (temperature 1): that takes {LEAST_IMAGES} labelled validation "
                f"images, and there {'is' if self.images == 1 else 'are'} {self.images or 'none'}."
            )
        doubt = " This is as far as it may go: do not trust the probabilities." if self.temperature in BOUNDS else ""
        found = "too sure of itself" if self.temperature > 1 else "not sure enough"
        return (
            f"Probabilities are calibrated by the temperature {self.temperature:.3f}, fitted on {self.images} "
            f"validation images: the network was {found}.{doubt}"
        )


def fit_on_validation(model: nn.Module, validation: Validation) -> Fitted:
    """Predict every validation image once more, as in validation, and fit the temperature; each image counts the same.

    Args:
        model: The best model, on the validation's device.
        validation: What the best epoch was chosen on; images without any labelled pixel do not count.
    """
    tiling, device, precision = validation.tiling, validation.device, validation.precision
    curves = []
    for image in track(validation.images, "Calibration"):
        levels, sampler = image.open_image(), PixelSampler(np.asarray(image.open_mask()))
        shift_scale = validation.normalisation.shift_scale(levels)
        for band in predict_bands(model, levels, shift_scale, tiling, device=device, precision=precision):
            sampler.put(band.probabilities)
        if (sample := sampler.sample()) is not None:
            curves.append(cross_entropies(sample))
    enough = len(curves) >= LEAST_IMAGES
    fitted = Fitted(fit_temperature(np.stack(curves)) if enough else 1.0, len(curves))
    log.info("%s", fitted.sentence)
    return fitted
