"""What models say about each pixel of an image: the most probable class, and how unsure they are, band by band."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Shaped, UInt8
from torch import Tensor, nn

from srpu.active.uncertainty import ENSEMBLE, Ensemble, Strategy
from srpu.active.windows import Lattice
from srpu.learn.predict import Tiling, predict_tensors
from srpu.settings import ActiveLearningSettings
from srpu.tasks.pool_models import Listener, Member, Mirrored

Voice = tuple[Member, tuple[int, ...]]
"""A model, and the axes along which images are mirrored for it."""


@dataclass(frozen=True, eq=False)
class Band:
    """Some rows of an image, on the device.

    Attributes:
        top: The first of them.
        ids: The most probable class of each pixel.
        maps: What each strategy says, in [0, 1].
    """

    top: int
    ids: UInt8[Tensor, "rows w"]
    maps: dict[str, Float32[Tensor, "rows w"]]


class Panel:
    """The models that are asked, and the strategies that make maps of their answers.

    Args:
        members: The current model first.
        ways: The strategies that need this model alone.
        weights: What each strategy counts, "ensemble" among them where several answers are compared.
        settings: Of the verb.
    """

    def __init__(
        self,
        members: Sequence[Member],
        ways: Mapping[str, Strategy],
        weights: Mapping[str, float],
        settings: ActiveLearningSettings,
    ) -> None:
        self.first = members[0]
        self.tiling = tiling(settings)
        self.voices = _voices(members, settings) if ENSEMBLE in weights else [(members[0], ())]
        self._ways, self._weights = ways, weights
        self._total = sum(weights.values())

    @property
    def asked(self) -> list[Member]:
        """The models whose answers count."""
        return list(dict.fromkeys(member for member, _ in self.voices))

    def mean_of(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The weighted mean of what the strategies say."""
        first, *others = (np.float32(self._weights[name] / self._total) * value for name, value in values.items())
        return np.asarray(sum(others, start=first))

    def bands(self, image: Shaped[np.ndarray, "h w"], listener: Listener | None = None) -> Iterator[Band]:
        """What the models say about an image, from top to bottom.

        Args:
            image: Grey levels without data bar.
            listener: The current model, where its encoder is listened to.

        Raises:
            ModelError: A network's output is not a number.
            SettingsError: A strategy of the user's own fails.
        """
        others = [self._predict(image, *voice) for voice in self.voices[1:]]
        for top, probabilities in self._predict(image, self.first, (), listener):
            yield self._band(top, probabilities, others)

    def _predict(
        self, image: np.ndarray, member: Member, axes: tuple[int, ...], listener: Listener | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        model: nn.Module = Mirrored(member.model, axes) if axes else member.model
        return predict_tensors(
            listener or model,
            image,
            member.normalisation.shift_scale(image),
            self.tiling,
            device=member.device,
            precision=member.precision,
        )

    @torch.inference_mode()
    def _band(self, top: int, raw: Float32[Tensor, "c rows w"], others: list[Iterator[tuple[int, Tensor]]]) -> Band:
        honest = tempered(raw, self.first.temperature)
        maps = {name: way(honest[None])[0].float() for name, way in self._ways.items()}
        if ENSEMBLE in self._weights:
            ensemble = Ensemble()
            ensemble.add(honest[None])
            for (member, _), voice in zip(self.voices[1:], others, strict=True):
                ensemble.add(tempered(next(voice)[1], member.temperature)[None].to(honest.device))
            maps[ENSEMBLE] = ensemble.disagreement()[0]
        return Band(top, _most_probable(raw), maps)


@torch.inference_mode()
def cell_sums(
    band: Band, classes: int, lattice: Lattice, across: Float32[Tensor, "w a"], free: Shaped[np.ndarray, "h w"] | None
) -> Float64[np.ndarray, "n d a"]:
    """Sums over the cells of a lattice: of each strategy's map, and then the pixels of each class.

    Args:
        band: Of an image.
        classes: How many there are.
        lattice: On the image.
        across: The lattice's, on the band's device.
        free: Which pixels of the image count; None: all.
    """
    device, rows = band.ids.device, len(band.ids)
    down = torch.from_numpy(lattice.down(band.top, rows)).to(device)
    counts = None
    if free is not None:
        counts = torch.from_numpy(free[band.top : band.top + rows].astype(np.float32)).to(device)
    sums = []
    for plane in (*band.maps.values(), *(band.ids == id_ for id_ in range(classes))):
        values = plane.float() if counts is None else plane * counts
        sums.append(down @ (values @ across))
    return torch.stack(sums).cpu().numpy().astype(np.float64)


@torch.inference_mode()
def tempered(probabilities: Float32[Tensor, "c rows w"], temperature: float) -> Float32[Tensor, "c rows w"]:
    """The same as :func:`srpu.learn.calibrate.temper`, on the device.

    >>> tempered(torch.tensor([0.9, 0.1]).reshape(2, 1, 1), 2.0).flatten().round(decimals=3).tolist()
    [0.75, 0.25]
    """
    if temperature == 1:
        return probabilities
    logs = probabilities.clamp_min(torch.finfo(torch.float32).tiny).log_()
    return logs.div_(temperature).softmax(dim=0)


def tiling(settings: ActiveLearningSettings) -> Tiling:
    """How images of a pool are cut for prediction."""
    return Tiling(settings.TILE_SIZE, settings.TILE_OVERLAP, settings.SCORING_BATCH_SIZE)


def _most_probable(probabilities: Float32[Tensor, "c rows w"]) -> UInt8[Tensor, "rows w"]:
    """The most probable class id of each pixel; of equals the first. Faster than argmax on the CPU."""
    best = probabilities[0]
    ids = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for id_, plane in enumerate(probabilities[1:], start=1):
        ids = torch.maximum(ids, (plane > best).view(torch.uint8) * id_)  # whoever wins later has the larger id
        best = torch.maximum(best, plane)
    return ids


def _voices(members: Sequence[Member], settings: ActiveLearningSettings) -> list[Voice]:
    """Who is asked for an ensemble; the current model, on the image as it is, comes first.

    Several models that were trained for it speak for themselves. Otherwise each speaks also for mirror images, of the
    kinds that training shows, or from left to right if it shows none.
    """
    axes: list[tuple[int, ...]] = [()]
    if settings.ENSEMBLE_SIZE is None or len(members) == 1:
        axes += [(-1,)] if settings.FLIP.enabled or not settings.FLIP_VERTICAL.enabled else []
        axes += [(-2, *one) for one in axes] if settings.FLIP_VERTICAL.enabled else []
    return [(member, one) for member in members for one in axes]
