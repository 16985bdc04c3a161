"""The other side of a comparison: the model that `srpu evaluate --against OTHER.pth` names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from srpu.data.classes import colour
from srpu.data.index import Record
from srpu.errors import CheckpointError
from srpu.files import open_replacing
from srpu.learn import metrics
from srpu.pictures import change_map, legend, panel, png_bytes, stack, to_8bit
from srpu.settings import EvaluationSettings
from srpu.tasks.comparison import Comparison, compare, paired_scores
from srpu.tasks.contender import Contender, open_model
from srpu.tasks.scores import ImageScore, Scores
from srpu.tasks.wiring import class_map, refuse_leaks
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

Ids = UInt8[np.ndarray, "h w"]


class Rival:
    """The other model, and what it made of the images so far."""

    def __init__(self, name: str, other: Contender, contender: Contender, settings: EvaluationSettings) -> None:
        self._name, self._other, self._contender = name, other, contender
        self._classes, self._worst_cases = class_map(settings), settings.WORST_CASES
        self._scores: list[Scores] = []

    def judge(self, judged: ImageScore, image: np.ndarray, truth: Ids, labels: Ids) -> None:
        """Label one image, score it, and draw both sides; ``labels`` are the judged side's."""
        theirs, _ = self._other.predict(judged.record, image, lambda _: None)
        self._scores.append(paired_scores(metrics.confusion(truth, theirs, len(self._classes)), self._classes))
        pictures = [colour(ids, self._classes) for ids in (truth, labels, theirs)]
        pictures = [to_8bit(image), *pictures, change_map(truth, theirs, labels, image)]
        sheet = panel(pictures, ["image", "truth", "this", "other", "gained blue, lost red"], width=3200)
        with open_replacing(judged.panel.parent.with_name("compared") / judged.panel.name) as file:
            file.write(png_bytes(stack([sheet, legend(self._classes, sheet.shape[1])])))

    def compare(self, judged: Sequence[ImageScore]) -> Comparison:
        """What follows, once every image of ``judged`` has been labelled."""
        groups = [image.group for image in judged]
        ours = [paired_scores(image.tally.matrix, self._classes) for image in judged]
        scores = {name: compare((s[name] for s in ours), (s[name] for s in self._scores), groups) for name in ours[0]}
        this = "this model" if "model" in self._contender.facts else "these masks"
        known = {this: self._contender.trained_on, f"the model {self._name}": self._other.trained_on}
        remarks = _advantages([image.record for image in judged], known)
        if np.array_equal([list(s.values()) for s in ours], [list(s.values()) for s in self._scores], equal_nan=True):
            remarks.append("Both sides have the same scores on every image; are they copies of one model?")
        judged = [replace(image, scores=score) for image, score in zip(judged, ours, strict=True)]
        return Comparison(this, self._name, self._classes, scores, judged, self._scores, remarks, self._worst_cases)


def open_rival(
    path: Path, contender: Contender, records: Sequence[Record], settings: EvaluationSettings, workspace: Workspace
) -> Rival:
    """The model at ``path``, as seen from the current folder or from the workspace.

    Raises:
        CheckpointError: It is missing, tells another number of classes apart, or is the judged model itself.
        LeakError: It was trained on a validation or test image.
    """
    places = (path.expanduser().absolute(), workspace.path(path))
    path = next((place for place in places if place.exists()), places[0])
    if not path.is_file():
        what = f"{path} is a folder" if path.is_dir() else f"There is no model at {path}"
        raise CheckpointError(f"{what}; name a checkpoint to compare with, such as a best_model.pth, after --against.")
    judged = contender.facts.get("model")
    if judged and workspace.path(judged).samefile(path):
        raise CheckpointError(
            f"--against names {path}, which is the judged model itself; name another one, or set CHECKPOINT_PATH."
        )
    log.info("Compared with the model %s.", path)
    other, name = open_model(path, settings, workspace), workspace.name(path)
    refuse_leaks(other.trained_on, [record for record in records if record.split != "train"], name)
    return Rival(name, other, contender, settings)


def _advantages(records: Sequence[Record], known: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What the sides had seen of the judged images."""
    uses = {"train": "{} learned from", "val": "the best epoch of {} was chosen on"}
    remarks = []
    for (who, seen), (rest, unseen), (split, use) in product(known.items(), known.items(), uses.items()):
        alone = sum(seen.get(r.sha256) == split and unseen.get(r.sha256) != split for r in records)
        if alone:
            began = use.format(who)
            remarks.append(
                f"{began[0].upper()}{began[1:]} {alone} of these {len(records)} images, where {rest} had no such help: "
                f"an unfair advantage of {who}."
            )
    both = sum(all(seen.get(r.sha256) == "train" for seen in known.values()) for r in records)
    if both:
        remarks.append(
            f"Both sides learned from {both} of these {len(records)} images: the verdict is about remembering, not "
            "about new images."
        )
    return remarks
