"""What a pretrained encoder has learned: `srpu inspect`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from srpu.data.dataset import LabelledImage
from srpu.data.index import Record
from srpu.data.pool import PoolSampler
from srpu.errors import CheckpointError, DataError, IndexingError
from srpu.files import make_folder, write_json
from srpu.learn.device import choose_device
from srpu.learn.pretrained import MODEL_FILE, Pretrained, load_pretrained, rebuild
from srpu.models.autoencoder import Restored, Restorer
from srpu.models.encoders import build_encoder
from srpu.settings import InspectSettings, PretrainSettings
from srpu.tasks.restoration import damage, shrunk
from srpu.tasks.ssl_inspection import Inspection, Probing, Restoration, measure, write_inspection
from srpu.tasks.ssl_pool import index_or_nothing
from srpu.tasks.ssl_probes import CROPS, draw_crops, judge, probe, random_encoders
from srpu.tasks.wiring import Opener, class_map, enough_memory, refuse_leaks
from srpu.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inspected:
    """Where the report lies, and what it says in one sentence."""

    report: Path
    sentence: str


def run(settings: InspectSettings, workspace: Workspace) -> Inspected:
    """Show what a pretrained network restores, what its features look like, and whether they tell classes apart.

    Raises:
        CheckpointError: There is no pretrained network, or the file is something else.
        IndexingError: There is no image to show.
        LeakError: It was pretrained on an image that is judged on now.
    """
    path = newest_pretrained(settings, workspace)
    pretrained = load_pretrained(path)
    device = choose_device(settings.DEVICE)
    labelled = index_or_nothing(workspace.path(settings.MASTER_LABELED_JSON))
    if settings.DATASETS is not None:
        labelled = [record for record in labelled if record.dataset in settings.DATASETS]
    judged = [record for record in labelled if record.split == "val"]
    refuse_leaks(dict.fromkeys(pretrained.pretrained_on, "train"), judged, str(path))
    asked = _as_pretrained(path, pretrained)
    opener = Opener(settings, workspace)
    with enough_memory("lower INSPECT_IMAGES or PROBE_PIXELS"):
        model = rebuild(pretrained).to(device)
        shown, names, seen_before = _shown(settings, workspace, opener, judged, pretrained)
        images = _crops(shown, pretrained, asked)
        restorations = [
            _restored(model, image, name, asked, device, seed)
            for seed, (image, name) in enumerate(zip(images, names, strict=True))
        ]
        probing, why_not = _probe(settings, opener, labelled, pretrained, asked, device)
    inspection = Inspection(
        path=workspace.name(path),
        pretrained=pretrained,
        restorations=restorations,
        encoders=(model.encoder, next(random_encoders(lambda: _random(pretrained)))),
        images=torch.cat(images),
        device=device,
        learned_from=seen_before,
        probing=probing,
        why_no_probing=why_not,
        classes=class_map(settings),
    )
    folder = _new_folder(workspace.path(settings.INSPECT_DIR), path.parent.name)
    report = write_inspection(folder / "report.html", inspection)
    write_json(folder / "numbers.json", inspection.numbers())
    log.info("%s", inspection.sentence)
    log.info("Report: %s", report)
    return Inspected(report, inspection.sentence)


def newest_pretrained(settings: InspectSettings, workspace: Workspace) -> Path:
    """SSL_MODEL_PATH, or the network of the last finished pretraining below MODEL_SAVE_DIR.

    Raises:
        CheckpointError: There is none.
    """
    folder = workspace.path(settings.MODEL_SAVE_DIR)
    if settings.SSL_MODEL_PATH:
        path = workspace.path(settings.SSL_MODEL_PATH)
        if not path.is_file():
            raise CheckpointError(f"SSL_MODEL_PATH: there is no file {path}; name a {MODEL_FILE}.")
        return path
    found = sorted(folder.glob(f"*/{MODEL_FILE}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise CheckpointError(
            f"There is no finished pretraining in {folder}; run `srpu pretrain` (an interrupted one is finished by "
            f"`srpu pretrain --resume`) or set SSL_MODEL_PATH."
        )
    return found[-1]


def _as_pretrained(path: Path, pretrained: Pretrained) -> PretrainSettings:
    """The settings that the network was pretrained with."""
    try:
        return PretrainSettings(**pretrained.settings)
    except (ValidationError, TypeError) as error:
        raise CheckpointError(f"{path} was written by another version of SRPU; run `srpu pretrain` again.") from error


def _random(pretrained: Pretrained) -> torch.nn.Module:
    return build_encoder(pretrained.model["encoder"], pretrained.model["in_channels"])


def _shown(
    settings: InspectSettings, workspace: Workspace, opener: Opener, judged: Sequence[Record], pretrained: Pretrained
) -> tuple[list[LabelledImage], list[str], int]:
    """Images to show, their names, and how many of them the network learned from: the fewest that is possible."""
    others = index_or_nothing(workspace.path(settings.MASTER_UNLABELED_JSON))
    others += [
        record for record in index_or_nothing(workspace.path(settings.MASTER_LABELED_JSON)) if record.split == "train"
    ]
    new = [record for record in others if record.sha256 not in pretrained.pretrained_on]
    known = [record for record in others if record.sha256 in pretrained.pretrained_on]
    candidates = [*_spread(judged, settings.INSPECT_IMAGES), *new, *_spread(known, settings.INSPECT_IMAGES)]
    chosen: list[Record] = []
    images: list[LabelledImage] = []
    for record in candidates:
        if len(images) == settings.INSPECT_IMAGES:
            break
        try:
            image = opener.unlabelled(record)
            image.open_image()
        except DataError as error:
            log.warning("%s", error)
            continue
        images.append(image)
        chosen.append(record)
    if not images:
        raise IndexingError("There is no image to show; put images into data/raw and run `srpu index`.")
    seen = sum(record.sha256 in pretrained.pretrained_on for record in chosen)
    return images, [record.id for record in chosen], seen


def _spread(records: Sequence[Record], count: int) -> list[Record]:
    """So many of the records, evenly."""
    places = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    return [records[place] for place in places]


def _crops(images: Sequence[LabelledImage], pretrained: Pretrained, asked: PretrainSettings) -> list[torch.Tensor]:
    """One crop (1, 1, h, w) of each image, as the network sees it."""
    crops = []
    for image in images:
        sampler = PoolSampler(
            [image], crop=asked.CROP_SIZE, window=asked.CROP_SIZE, normalisation=pretrained.normalisation
        )
        crops.append(shrunk(next(sampler.batches(1)).images, asked.SHRINK))
    return crops


@torch.no_grad()
def _restored(
    model: Restorer, image: torch.Tensor, name: str, asked: PretrainSettings, device: torch.device, seed: int
) -> Restoration:
    image = image.to(device)
    done = damage(asked, model)(image, torch.Generator().manual_seed(seed))
    answer: Restored = model.eval()(image, done)
    return measure(name, image, answer)


def _probe(
    settings: InspectSettings,
    opener: Opener,
    labelled: Sequence[Record],
    pretrained: Pretrained,
    asked: PretrainSettings,
    device: torch.device,
) -> tuple[Probing | None, str]:
    """What the probes find out, or why there are none."""
    records = {
        split: _spread([record for record in labelled if record.split == split], CROPS) for split in ("train", "val")
    }
    lacking = [word for split, word in (("train", "training"), ("val", "validation")) if not records[split]]
    if lacking:
        return None, (
            f"Probes were left out: there is no labelled {' and no labelled '.join(lacking)} image; put masks into "
            f"data/labeled and run `srpu index`."
        )
    fitted, judged = (
        draw_crops(
            [opener.labelled(record) for record in records[split]],
            pretrained.normalisation,
            asked.CROP_SIZE,
            asked.SHRINK,
            settings.PROBE_PIXELS,
            settings.SEED,
        )
        for split in ("train", "val")
    )
    options = (fitted, judged, settings.NUM_CLASSES, settings.NEIGHBOURS, device)
    own = probe(rebuild(pretrained).encoder, *options)
    others = [probe(encoder, *options) for encoder in random_encoders(lambda: _random(pretrained))]
    groups = [record.group for record in records["val"]]
    return Probing(own, others, judge(own, others, groups), groups, len(records["train"])), ""


def _new_folder(parent: Path, name: str) -> Path:
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}_{name}"
    folder, tries = parent / stamp, 1
    while folder.exists():
        tries += 1
        folder = parent / f"{stamp}-{tries}"
    return make_folder(folder)
