"""From settings and an index to the plain arguments that the rooms below take."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srpu.active.labels import read_label
from srpu.data.cache import Cache
from srpu.data.images import databar_rows, pixel_hash, read_image
from srpu.data.index import Record, read_manifest
from srpu.data.masks import ClassMap, fit_mask, read_mask
from srpu.data.normalisation import Normalisation
from srpu.errors import CheckpointError, IndexingError, LeakError, SettingsError
from srpu.settings import BaseConfig, EvaluationSettings, InferenceSettings, PretrainSettings, Ranged, Settings, Switch
from srpu.workspace import Workspace

if TYPE_CHECKING:  # these import torch, which verbs that only look at data do not need
    from srpu.data.augment import Augmenter, Variation
    from srpu.data.dataset import LabelledImage
    from srpu.data.degrade import Degrader
    from srpu.data.endless import EndlessImages
    from srpu.learn.predict import Tiling

log = logging.getLogger(__name__)

PRETRAINED = "pretrain"
"""In place of a split: the network has seen the image without its mask."""

KEPT = "kept ids"
"""How the mask of a record was read: as active learning keeps it, class ids in a grey PNG."""

SYNTHETIC = "synthetic"
"""The data set that is generated."""


def class_map(settings: BaseConfig) -> ClassMap:
    """What the settings say about classes."""
    ids = range(settings.NUM_CLASSES)
    return ClassMap(
        names=tuple(settings.CLASS_NAMES[id_] for id_ in ids),
        colors=tuple(settings.COLOR_MAPPING[id_] for id_ in ids),
        ignore_color=settings.IGNORE_COLOR,
        ignore_index=settings.IGNORE_INDEX,
        mask_values=settings.MASK_VALUES,
    )


def tiling(settings: InferenceSettings | EvaluationSettings) -> Tiling:
    """How images are cut for prediction."""
    from srpu.learn.predict import Tiling

    return Tiling(settings.TILE_SIZE, settings.TILE_OVERLAP, settings.BATCH_SIZE, settings.FLIP_AVERAGING)


def normalisation(settings: BaseConfig, training: Sequence[LabelledImage]) -> Normalisation:
    """The named way to normalise; "dataset" measures the training images."""
    if settings.NORMALIZATION == "dataset":
        from srpu.data.dataset import mean_and_deviation

        return Normalisation("dataset", mean_and_deviation(training))
    return Normalisation(settings.NORMALIZATION, settings.NORMALIZATION_WINDOW)


def encoder_weights(settings: BaseConfig, workspace: Workspace) -> str | None:
    """ENCODER_WEIGHTS, where a file of that name in the workspace is the file."""
    name = settings.ENCODER_WEIGHTS
    return str(workspace.path(name)) if name and workspace.path(name).is_file() else name


def augmenter(settings: Settings) -> Augmenter:
    """The variations that the settings switch on."""
    from srpu.data.augment import Augmenter

    return Augmenter(
        crop=settings.CROP_SIZE,
        flip=_variation(settings.FLIP),
        flip_vertical=_variation(settings.FLIP_VERTICAL),
        rotate_90=_variation(settings.ROTATE_90),
        rotate=_variation(settings.ROTATE),
        scale=_variation(settings.SCALE),
        gain=_variation(settings.GAIN),
        offset=_variation(settings.OFFSET),
        gamma=_variation(settings.GAMMA),
        blur=_variation(settings.BLUR),
        noise=_variation(settings.NOISE),
    )


def degrader(settings: PretrainSettings) -> Degrader:
    """The damage that the settings switch on."""
    from srpu.data.degrade import Degrader

    return Degrader(
        blur=_variation(settings.DEGRADE_BLUR),
        shrink=_variation(settings.DEGRADE_SHRINK),
        noise=_variation(settings.DEGRADE_NOISE),
        drop=_variation(settings.DROP_PATCHES),
        patch=settings.PATCH_SIZE,
    )


def _variation(switch: Switch) -> Variation:
    from srpu.data.augment import OFF, Variation

    if not switch.enabled:
        return OFF
    return Variation(switch.p, *(switch.range if isinstance(switch, Ranged) else ()))


def load_records(settings: Settings, workspace: Workspace, split: str | None = None) -> list[Record]:
    """The labelled images of ``split`` ("train", "val", "test"; None: all), of the data sets in DATASETS.

    Where training images are generated, those are the images to judge on, of all data sets; there may be none.

    Raises:
        IndexingError: There is no index, or DATASETS names one that it does not hold.
    """
    path = workspace.path(settings.MASTER_LABELED_JSON)
    if generated(settings):
        records = read_manifest(path) if path.exists() else []
        _refuse_mixing(settings, records)
        return [record for record in records if record.split in ([split] if split else ["val", "test"])]
    records = read_manifest(path)
    known = {record.dataset for record in records}
    for setting in ("DATASETS", "DATASET_WEIGHTS"):
        if unknown := set(getattr(settings, setting) or ()) - known:
            raise IndexingError(
                f"{setting} names {', '.join(sorted(unknown))}, which {path} does not hold; "
                f"it holds {', '.join(sorted(known))}."
            )
    if settings.DATASETS is not None:
        records = [record for record in records if record.dataset in settings.DATASETS]
    return [record for record in records if split is None or record.split == split]


def generated(settings: BaseConfig) -> bool:
    """Whether training images are generated: DATASETS = ["synthetic"]."""
    return SYNTHETIC in (getattr(settings, "DATASETS", None) or ())


def endless_images(settings: Settings) -> EndlessImages:
    """Training images without end.

    Raises:
        SettingsError: The classes are others than the generator's.
    """
    from srpu.data.endless import CLASSES, EndlessImages

    if settings.NUM_CLASSES != CLASSES:
        raise SettingsError(
            f'DATASETS = ["synthetic"] generates images of {CLASSES} classes, and NUM_CLASSES = '
            f"{settings.NUM_CLASSES}; name data sets of your own."
        )
    return EndlessImages(settings.CROP_SIZE, settings.SEED)


def _refuse_mixing(settings: Settings, records: Sequence[Record]) -> None:
    if settings.DATASETS != [SYNTHETIC]:
        raise SettingsError(
            f'DATASETS = {settings.DATASETS}: generated images are not mixed with others; give "synthetic" a stage of '
            "its own in STAGES (`srpu train-stages`)."
        )
    if any(record.dataset == SYNTHETIC for record in records):
        raise SettingsError(
            'The index holds a data set called "synthetic", and DATASETS = ["synthetic"] means generated images; give '
            "its folder another name and run `srpu index`."
        )


def refuse_leaks(trained: dict[str, str], judged: Sequence[Record], model: str = "") -> None:
    """Stop when an image that is judged on was trained on; warn when it was pretrained on.

    Args:
        trained: The split in which each image was known, by pixel hash.
        judged: What is judged on.
        model: Who trained on it, for the sentence.

    Raises:
        LeakError: Names the images.
    """
    leaked = [record.id for record in judged if trained.get(record.sha256) == "train"]
    if leaked:
        raise LeakError(
            f"{len(leaked)} images to judge on were {f'used to train {model}' if model else 'trained on'} "
            f"({', '.join(leaked[:5])}"
            f"{', …' if len(leaked) > 5 else ''}): the score would be worthless. Train anew with the present split, "
            f"or remove the copies; `srpu check` shows them."
        )
    if seen := [record.id for record in judged if trained.get(record.sha256) == PRETRAINED]:
        log.warning(
            "%d images to judge on took part in pretraining, without their masks (%s%s): say so where you publish the "
            "score (transductive), or pretrain anew.",
            len(seen),
            ", ".join(seen[:5]),
            ", …" if len(seen) > 5 else "",
        )


class Opener:
    """Opens the images and masks of an index through the cache."""

    def __init__(self, settings: BaseConfig, workspace: Workspace) -> None:
        self._workspace = workspace
        self._classes = class_map(settings)
        self._databar = settings.DATABAR_ROWS
        self._cache = Cache(workspace.path(settings.CACHE_DIR) / "pixels", int(settings.CACHE_LIMIT_GB * 1e9))
        self._rows: dict[str, int] = {}

    def labelled(self, record: Record) -> LabelledImage:
        """The record as training and validation take it, without its data bar."""
        from srpu.data.dataset import LabelledImage

        rows = self.rows(record)
        return LabelledImage(
            record.id,
            record.dataset,
            rows,
            record.width,
            open_image=lambda: self.image(record)[:rows],
            open_mask=lambda: self.mask(record)[:rows],
        )

    def unlabelled(self, record: Record) -> LabelledImage:
        """The record as pretraining takes it, without its data bar: no pixel is left out, and its mask is never read.

        Raises:
            ImageError: DATABAR_ROWS is "auto", and the file cannot be read.
            IndexingError: The same, and the file is another than the index remembers.
        """
        from srpu.data.dataset import LabelledImage

        rows = self.rows(record)
        return LabelledImage(
            record.id,
            record.dataset,
            rows,
            record.width,
            open_image=lambda: self.image(record)[:rows],
            open_mask=lambda: np.broadcast_to(np.uint8(0), (rows, record.width)),  # takes no memory
        )

    def rows(self, record: Record) -> int:
        """Rows of the image above its data bar."""
        if record.sha256 not in self._rows:
            bar = self._databar
            bar = databar_rows(self.image(record), bar) if bar == "auto" else bar
            self._rows[record.sha256] = max(record.height - bar, 1)
        return self._rows[record.sha256]

    def image(self, record: Record) -> np.ndarray:
        """All grey levels (h, w) of the record's image.

        Raises:
            ImageError: The file cannot be read.
            IndexingError: The file is another than the index remembers.
        """

        def decode() -> np.ndarray:
            path = self._workspace.path(record.image)
            image = read_image(path, record.page)
            if pixel_hash(image) != record.sha256:
                raise IndexingError(f"{path} has changed since it was indexed; run `srpu index` again.")
            return image

        key = _key(self._workspace.path(record.image), "image", record.sha256, record.page)
        return self._cache.get(key, decode)

    def mask(self, record: Record) -> np.ndarray:
        """The class ids (h, w) of the record's mask, 255 under the data bar where the mask ends above it.

        Raises:
            MaskError: The mask cannot be read or does not fit the image.
        """
        if record.mask is None:
            raise IndexingError(f"{record.id} has no mask; label it and run `srpu index` again.")
        path = self._workspace.path(record.mask)
        shape, bar = (record.height, record.width), record.height - self.rows(record)

        def decode() -> np.ndarray:
            kept = record.mask_read_by == KEPT
            ids = read_label(path) if kept else read_mask(path, self._classes, record.mask_page).ids
            return fit_mask(ids, shape, bar, path)

        reading = sorted(self._classes.state().items())
        return self._cache.get(_key(path, "mask", record.mask_page, shape, bar, record.mask_read_by, reading), decode)


@contextmanager
def enough_memory(cure: str) -> Iterator[None]:
    """Turn exhausted memory, the GPU's or the computer's, into a sentence that ends with ``cure``.

    Raises:
        SettingsError: There is not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch raises a RuntimeError, on the CPU a bare one
        words = "MemoryError" if isinstance(error, MemoryError) else str(error)
        if not any(sign in words for sign in ("MemoryError", "allocate memory", "out of memory")):
            raise
        raise SettingsError(f"There is not enough memory; {cure}.") from error


def same_classes(path: Path, theirs: ClassMap, ours: ClassMap) -> None:
    """Warn where a model's classes have other names than CLASS_NAMES.

    Raises:
        CheckpointError: They are the same names in another order.
    """
    if theirs.names == ours.names:
        return
    names = f"{path} knows the classes as {', '.join(theirs.names)}, CLASS_NAMES as {', '.join(ours.names)}"
    if sorted(theirs.names) == sorted(ours.names):
        raise CheckpointError(f"{names}: put CLASS_NAMES and COLOR_MAPPING in the model's order.")
    log.warning("%s; the results carry the latter.", names)


def newest_checkpoint(settings: InferenceSettings | EvaluationSettings, workspace: Workspace) -> Path:
    """CHECKPOINT_PATH, or the best model of the last finished run below MODEL_SAVE_DIR.

    Raises:
        CheckpointError: There is none.
    """
    if settings.CHECKPOINT_PATH:
        return workspace.path(settings.CHECKPOINT_PATH)
    folder = workspace.path(settings.MODEL_SAVE_DIR)
    best = sorted(folder.glob("*/best_model.pth"), key=lambda path: path.stat().st_mtime)
    if not best:
        unfinished = _unfinished_models(folder)
        cure = (
            f"`{_again(unfinished[-1])}` finishes the interrupted run, or CHECKPOINT_PATH takes its {unfinished[-1]}"
            if unfinished
            else "run `srpu train` first or set CHECKPOINT_PATH"
        )
        if not unfinished and (stages := sorted(folder.glob("*-stages_*/*/*/*/state.pth"))):
            cure = f"`srpu {stages[-1].relative_to(folder).parts[0].partition('_')[0]} --resume` finishes the stages"
        elif not unfinished and any(folder.glob("*/folds/folds.json")):
            cure = "the models of a cross-validation serve to judge only, so train one with `srpu train --set FOLDS=0`"
        raise CheckpointError(f"There is no finished model in {folder}; {cure}.")
    later = [path for path in _unfinished_models(folder) if path.stat().st_mtime > best[-1].stat().st_mtime]
    if later:
        log.warning(
            "A later run was interrupted and is not used: `%s` finishes it, or CHECKPOINT_PATH takes its %s.",
            _again(later[-1]),
            later[-1],
        )
    return best[-1]


def _again(model: Path) -> str:
    """The command that finishes the run that an interrupted ``model`` belongs to."""
    verb = "finetune" if model.parent.parent.name.startswith("finetune_") else "train"
    return f"srpu {verb} --resume"


def _unfinished_models(folder: Path) -> list[Path]:
    """The best models of interrupted runs below ``folder``, the newest last."""
    models = [
        path
        for path in folder.glob("*/*/best_model.pth")
        if (path.parent / "state.pth").exists() and not (path.parent / "last_model.pth").exists()
    ]
    return sorted(models, key=lambda path: path.stat().st_mtime)


def _key(path: Path, kind: str, *reading: Any) -> str:
    """Another file, time stamp, size or reading makes another key, so a file that was replaced is decoded anew."""
    try:
        stat = path.stat()
    except FileNotFoundError as error:
        raise IndexingError(f"The {kind} {path} is gone; run `srpu index` again.") from error
    facts = (str(path), stat.st_size, stat.st_mtime_ns, *reading)
    return hashlib.sha256(repr(facts).encode()).hexdigest()
