"""Does a pretrained encoder tell classes apart better than one with random weights? Asked of labelled pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from srpu.data.dataset import Batch, CropSampler, LabelledImage
from srpu.data.masks import IGNORE
from srpu.data.normalisation import Normalisation
from srpu.learn import metrics
from srpu.learn.pretrained import measure_statistics
from srpu.learn.probe import features_at, linear_probe, neighbour_probe
from srpu.progress import track
from srpu.tasks.comparison import BETTER, ENOUGH_GROUPS, SAME, WORSE, verdict
from srpu.tasks.restoration import shrunk

RANDOM_SEEDS = (1, 2, 3)
"""Random encoders that a pretrained one is compared with."""

CROPS = 64
"""Crops that probes look at, in training and in validation images, about."""

LEAST_GAIN = 0.01
"""Differences in mean IoU below this are not spoken of."""

PROBES = {"linear": "linear probe", "neighbours": "nearest neighbours"}


@dataclass(frozen=True)
class Crops:
    """Labelled crops, and the image that each is of; places (k, 2) and classes (k,) of some pixels in each."""

    images: Tensor
    places: Tensor
    classes: Tensor
    of: list[int]


@dataclass(frozen=True)
class Probed:
    """What the probes find out about one encoder: for each probe a confusion matrix for each validation image."""

    matrices: Mapping[str, Sequence[metrics.Matrix]]

    def miou(self, probe: str) -> float:
        """Mean IoU over the classes, the pixels of all images together."""
        return metrics.macro_miou(np.sum(self.matrices[probe], axis=0))

    def of_images(self, probe: str) -> list[float]:
        """Mean IoU of each image."""
        return [metrics.macro_miou(matrix) for matrix in self.matrices[probe]]


def draw_crops(
    images: Sequence[LabelledImage], normalisation: Normalisation, crop: int, shrink: int, pixels: int, seed: int
) -> Crops:
    """About :data:`CROPS` crops of all images, with about ``pixels`` labelled pixels chosen from them at random."""
    random = np.random.default_rng(seed)
    each = max(CROPS // len(images), 1)
    found: list[Batch] = []
    of: list[int] = []
    for number, image in enumerate(track(images, "Labelled images")):
        sampler = CropSampler([image], crop=crop, window=crop, normalisation=normalisation, seed=seed)
        count = min(each, sampler.crops_per_pass)
        crops = [batch for batch in islice(sampler.batches(1), count) if bool((batch.masks != IGNORE).any())]
        found += crops
        of += [number] * len(crops)
    wanted = max(pixels // len(found), 1)
    places, classes = [], []
    for batch in found:
        mask = batch.masks[0].numpy()
        labelled = np.flatnonzero(mask != IGNORE)
        chosen = random.choice(labelled, wanted, replace=len(labelled) < wanted)
        rows, columns = np.divmod(chosen, crop)
        places.append(np.stack([columns, rows], axis=1) * (2 / crop) + (1 / crop - 1))
        classes.append(mask[rows, columns])
    return Crops(
        shrunk(torch.cat([batch.images for batch in found]), shrink),
        torch.from_numpy(np.stack(places)).float(),
        torch.from_numpy(np.stack(classes)).long(),
        of,
    )


def probe(
    encoder: nn.Module, fitted: Crops, judged: Crops, classes: int, neighbours: int, device: torch.device
) -> Probed:
    """Fit both probes on the first crops' pixels and judge them on the second's.

    The encoder's batch statistics are measured on the first, so that random weights are not at a disadvantage.
    """
    encoder = encoder.to(device)
    measure_statistics(encoder, torch.split(fitted.images, 8), device)
    known, truth = _features(encoder, fitted, device), fitted.classes.flatten().to(device)
    asked = _features(encoder, judged, device)
    answers = {
        "linear": linear_probe(known, truth, asked, classes),
        "neighbours": neighbour_probe(known, truth, asked, classes, neighbours),
    }
    return Probed({name: _matrices(answer, judged, classes) for name, answer in answers.items()})


def _features(encoder: nn.Module, crops: Crops, device: torch.device) -> Tensor:
    parts = [
        features_at(encoder, images.to(device), places.to(device))
        for images, places in zip(torch.split(crops.images, 8), torch.split(crops.places, 8), strict=True)
    ]
    return torch.cat(parts).flatten(0, 1)


def _matrices(answer: np.ndarray, judged: Crops, classes: int) -> list[metrics.Matrix]:
    truth = judged.classes.numpy().astype(np.uint8)
    answers = answer.reshape(truth.shape)
    matrices = [np.zeros((classes, classes + 1), np.int64) for _ in range(max(judged.of) + 1)]
    for number, one, other in zip(judged.of, truth, answers, strict=True):
        matrices[number] += metrics.confusion(one[None], other[None], classes)
    return matrices


def random_encoders(make: Callable[[], nn.Module]) -> Iterator[nn.Module]:
    """The same encoder with other random weights each time; the caller's random numbers go on as if nothing were."""
    for seed in RANDOM_SEEDS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = make()
        yield encoder


def judge(pretrained: Probed, others: Sequence[Probed], groups: Sequence[str]) -> dict[str, str]:
    """For each probe "better", "worse" or "not distinguishable".

    Better is what beats every random encoder by a point, and does so beyond chance over the specimens (``groups``, one
    for each image): with two to four, on each of them; one says nothing.
    """
    found = {}
    for name in PROBES:
        own, random = pretrained.miou(name), [other.miou(name) for other in others]
        chance = np.mean([other.of_images(name) for other in others], axis=0)
        differences: dict[str, list[float]] = defaultdict(list)
        for group, one, other in zip(groups, pretrained.of_images(name), chance, strict=True):
            differences[group].append(float(one - other))
        means = [metrics.nan_mean(np.array(values)) for values in differences.values()]
        few, several = len(means) < ENOUGH_GROUPS, len(means) > 1
        sure = verdict(differences)
        if own > max(random) + LEAST_GAIN and (several and min(means) > 0 if few else sure == BETTER):
            found[name] = BETTER
        elif own < min(random) - LEAST_GAIN and (several and max(means) < 0 if few else sure == WORSE):
            found[name] = WORSE
        else:
            found[name] = SAME
    return found


def together(verdicts: Mapping[str, str]) -> str:
    """What several verdicts say together: those that contradict each other say nothing.

    >>> together({"linear": "better", "neighbours": "not distinguishable"})
    'better'
    >>> together({"linear": "better", "neighbours": "worse"})
    'not distinguishable'
    """
    clear = set(verdicts.values()) - {SAME}
    return clear.pop() if len(clear) == 1 else SAME
