"""How unsure models are about each image of a pool, or about windows in it, and what these look like to the encoder.

One image after the other, in memory that does not grow with their number; what is found is kept in the store, so work
that was broken off goes on where it was. Strategies see an image in bands of up to TILE_SIZE rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float16, Float32, Float64, Shaped, UInt8

from srpu.active import windows as cutting
from srpu.active.labels import Ids, ids_hash
from srpu.active.query import Query, Window
from srpu.active.store import Store
from srpu.active.uncertainty import ENSEMBLE, STRATEGIES, Strategy, own_strategies
from srpu.data.classes import IGNORE
from srpu.data.index import Record
from srpu.errors import SettingsError
from srpu.learn.novelty import pooled_features
from srpu.learn.predict import predict_tensors
from srpu.settings import ActiveLearningSettings, weights
from srpu.tasks.pool_images import Facts, Features, Walk
from srpu.tasks.pool_maps import Panel, cell_sums, tiling
from srpu.tasks.pool_models import Listener, Member
from srpu.tasks.wiring import Opener
from srpu.workspace import Workspace

OWN_STRATEGIES = "utils/uncertainty_util.py"
"""Where users write strategies of their own, below the workspace."""

NUMBERS = 1
"""Grows when the same models and settings give other numbers than before: remembered ones are then made anew."""


@dataclass(frozen=True, eq=False)
class Scored:
    """What was found in an image, or in a window of it.

    Attributes:
        query: The image or the window.
        scores: For each enabled strategy the mean of its map over the pixels that count, in [0, 1].
        shares: Of each class among these pixels, as predicted; sums to 1.
        features: What the encoder of the current model answers, a vector of length 1.
    """

    query: Query
    scores: dict[str, float]
    shares: Float32[np.ndarray, " c"]
    features: Float16[np.ndarray, " d"]


@dataclass(frozen=True, eq=False)
class Look:
    """What the current model says about each pixel of an image.

    Attributes:
        ids: The predicted class ids; 255 in the data bar.
        uncertainty: The weighted mean of the enabled strategies, in [0, 1]; 0 where no pixel counts.
    """

    ids: UInt8[np.ndarray, "h w"]
    uncertainty: Float32[np.ndarray, "h w"]


def chosen_ways(settings: ActiveLearningSettings, workspace: Workspace) -> dict[str, Strategy]:
    """The strategies that are switched on and count, by name, except "ensemble", which needs several models.

    Raises:
        SettingsError: One does not exist, or the user's file cannot be run.
    """
    wanted = [name for name in weights(settings.UNCERTAINTY_STRATEGIES) if name != ENSEMBLE]
    path = workspace.path(OWN_STRATEGIES)
    strange = [name for name in wanted if name not in STRATEGIES]
    own = own_strategies(path) if strange and path.is_file() else {}
    if unknown := [name for name in strange if name not in own]:
        there = ", ".join(sorted([*STRATEGIES, ENSEMBLE]))
        of_their_own = f"holds {', '.join(sorted(own))}" if own else "holds no function"
        raise SettingsError(
            f"UNCERTAINTY_STRATEGIES: there is no {unknown[0]}; there are {there}, and {path} {of_their_own}."
        )
    return {name: STRATEGIES.get(name) or own[name] for name in wanted}


def score_pool(
    members: Sequence[Member],
    pool: Sequence[Record],
    settings: ActiveLearningSettings,
    workspace: Workspace,
    store: Store,
    taken: Mapping[str, Ids] | None = None,
) -> Iterator[Scored]:
    """How unsure the models are about each image of the pool, in the order of ids; what is known is not done again.

    With QUERY = "region", each image gives its most uncertain windows, the best first.

    Args:
        members: The current model, and with "ensemble" those that it is compared with.
        pool: Images without a whole label.
        settings: Of the verb.
        workspace: Where the images are.
        store: Remembers what is found.
        taken: Class ids (h, w) of images, by hash: only pixels that are 255 count.

    Raises:
        SettingsError: A strategy does not exist or fails, or the memory is too small.
        ImageError: No image can be read.
        WorkspaceError: The disk is full.
    """
    scorer = _Scorer(members, settings, workspace, taken or {})
    walk = Walk(sorted(pool, key=lambda record: record.id), scorer.key(), scorer.made_of, scorer.score)
    for record, facts, features in walk.over(Opener(settings, workspace), store, "looking through the pool"):
        found = facts["found"]
        rows = np.zeros((0, 0), np.float16) if features is None else features.reshape(len(found), -1)
        for one, described in zip(found, rows, strict=True):
            yield Scored(
                Query(record.sha256, record.id, Window(*one["window"]) if one["window"] else None),
                one["scores"],
                np.array(one["shares"], np.float32),
                described,
            )


def features_of(
    member: Member,
    records: Sequence[Record],
    settings: ActiveLearningSettings,
    workspace: Workspace,
    store: Store,
    windows: Mapping[str, Sequence[Window]] | None = None,
) -> Iterator[tuple[Query, Float16[np.ndarray, " d"]]]:
    """What the encoder answers to each image, as :func:`score_pool` has it, in the order of ids.

    Args:
        member: Whose encoder.
        records: Any images, with or without labels.
        settings: Of the verb.
        workspace: Where the images are.
        store: Remembers what is found.
        windows: By hash, the windows of an image that are looked at; images that are not in it are looked at whole.

    Raises:
        SettingsError: The memory is too small.
        ImageError: No image can be read.
        WorkspaceError: The disk is full.
    """
    chosen = windows or {}
    tiles = tiling(settings)

    def made_of(record: Record) -> str:
        return _digest([list(window) for window in chosen.get(record.sha256, ())])

    def compute(record: Record, image: Shaped[np.ndarray, "h w"]) -> tuple[Facts, Features | None]:
        if parts := chosen.get(record.sha256):
            return {}, _features_of_windows(member, image, parts)
        listener = Listener(member.model, decodes=False)
        levels, where = member.normalisation.shift_scale(image), (member.device, member.precision)
        for _ in predict_tensors(listener, image, levels, tiles, device=where[0], precision=where[1]):
            pass
        return {}, listener.styles.features()

    key = f"features {member.hash[:20]} {_digest(_common(settings, [member]))}"
    walk = Walk(sorted(records, key=lambda record: record.id), key, made_of, compute)
    for record, _, features in walk.over(Opener(settings, workspace), store, "describing images"):
        assert features is not None  # noqa: S101  (there is at least one window)
        parts: Sequence[Window | None] = chosen.get(record.sha256) or [None]
        for window, described in zip(parts, features.reshape(len(parts), -1), strict=True):
            yield Query(record.sha256, record.id, window), described


def look_at(
    record: Record,
    members: Sequence[Member],
    settings: ActiveLearningSettings,
    workspace: Workspace,
    taken: Ids | None = None,
) -> Look:
    """What the models say about each pixel of one image: it takes memory for whole maps.

    Args:
        record: The image.
        members: As for :func:`score_pool`.
        settings: Of the verb.
        workspace: Where the image is.
        taken: Class ids (h, w) of it: only pixels that are 255 count.

    Raises:
        ImageError: It cannot be read.
        IndexingError: The file is another than the index remembers.
        SettingsError: A strategy does not exist or fails.
    """
    panel = Panel(members, chosen_ways(settings, workspace), weights(settings.UNCERTAINTY_STRATEGIES), settings)
    opener = Opener(settings, workspace)
    visible = opener.image(record)[: opener.rows(record)]
    ids = np.full((record.height, record.width), IGNORE, np.uint8)
    uncertainty = np.zeros(ids.shape, np.float32)
    for band in panel.bands(visible):
        rows = slice(band.top, band.top + len(band.ids))
        ids[rows] = band.ids.cpu().numpy()
        uncertainty[rows] = panel.mean_of({name: plane.cpu().numpy() for name, plane in band.maps.items()})
    if taken is not None:
        uncertainty[taken != IGNORE] = 0
    return Look(ids, uncertainty)


class _Scorer:
    """Models, strategies and settings, ready for one image after the other."""

    def __init__(
        self,
        members: Sequence[Member],
        settings: ActiveLearningSettings,
        workspace: Workspace,
        taken: Mapping[str, Ids],
    ) -> None:
        self._settings, self._taken = settings, taken
        self._weights = weights(settings.UNCERTAINTY_STRATEGIES)
        ways = chosen_ways(settings, workspace)
        self._panel = Panel(members, ways, self._weights, settings)
        own = any(name not in STRATEGIES for name in ways)
        self._own = hashlib.sha256(workspace.path(OWN_STRATEGIES).read_bytes()).hexdigest() if own else None

    def key(self) -> str:
        """Under which results are remembered: the models and every setting that changes a number."""
        asked = self._panel.asked
        regions = self._settings.QUERY == "region"
        facts = {
            **_common(self._settings, asked),
            "ways": sorted(self._weights),
            "own": self._own,
            "mirrors": sorted({axes for _, axes in self._panel.voices}),
            "weights": sorted(self._weights.items()) if regions else None,  # they tell which windows are best
            "windows": [cutting.MOST, cutting.LEAST_FREE] if regions else None,
        }
        return f"{'+'.join(member.hash[:20] for member in asked)} {_digest(facts)}"

    def made_of(self, record: Record) -> str:
        """What changes the numbers of this image alone."""
        taken = self._taken.get(record.sha256)
        return _digest([self._edge(record), None if taken is None else ids_hash(taken)])

    def score(self, record: Record, image: Shaped[np.ndarray, "h w"]) -> tuple[Facts, Features | None]:
        """Scores, shares and features of the image, or of its best windows."""
        edge = self._edge(record)
        height, width = image.shape
        windows = cutting.grid((height, width), edge) if edge else [Window(0, 0, height, width)]
        lattice = cutting.Lattice((height, width), windows)
        taken = self._taken.get(record.sha256)
        free = None if taken is None else taken[:height] == IGNORE
        counted = lattice.windows(lattice.areas() if free is None else lattice.count(free))
        area = lattice.windows(lattice.areas())
        if not (counted >= cutting.LEAST_FREE * area if edge else counted > 0).any():
            return {"found": []}, None
        listener = None if edge else Listener(self._panel.first.model)
        means, shares = self._means(image, lattice, free, listener, np.maximum(counted, 1))
        chosen = cutting.best(windows, self._panel.mean_of(means), counted / area) if edge else [0]
        found = [
            {
                "window": list(windows[number]) if edge else None,
                "scores": {name: float(mean[number]) for name, mean in means.items()},
                "shares": shares[:, number].tolist(),
            }
            for number in chosen
        ]
        if listener:
            return {"found": found}, listener.styles.features()
        parts = [windows[number] for number in chosen]
        return {"found": found}, _features_of_windows(self._panel.first, image, parts)

    def _means(
        self,
        image: Shaped[np.ndarray, "h w"],
        lattice: cutting.Lattice,
        free: Bool[np.ndarray, "h w"] | None,
        listener: Listener | None,
        counted: Float64[np.ndarray, " n"],
    ) -> tuple[dict[str, Float64[np.ndarray, " n"]], Float64[np.ndarray, "c n"]]:
        """For each window: of each strategy's map the mean, and of each class the share."""
        across = torch.from_numpy(lattice.across()).to(self._panel.first.device)
        total, names = np.zeros(()), list[str]()
        for band in self._panel.bands(image, listener):
            total = total + cell_sums(band, self._settings.NUM_CLASSES, lattice, across, free)
            names = list(band.maps)
        means = np.clip(np.stack([lattice.windows(cells) for cells in total]) / counted, 0, 1)
        return dict(zip(names, means, strict=False)), means[len(names) :]

    def _edge(self, record: Record) -> int | None:
        if self._settings.QUERY != "region":
            return None
        return cutting.edge(self._settings.REGION_SIZE, self._settings.REGION_SIZE_NM, record.pixel_size_nm)


def _features_of_windows(
    member: Member, image: Shaped[np.ndarray, "h w"], windows: Sequence[Window]
) -> Float16[np.ndarray, " d"]:
    """One after the other in one row."""
    levels = member.normalisation.shift_scale(image)
    found = [
        pooled_features(member.model, image[window.slices], levels, device=member.device, precision=member.precision)
        for window in windows
    ]
    return np.concatenate(found).astype(np.float16)


def _common(settings: ActiveLearningSettings, members: Sequence[Member]) -> dict[str, Any]:
    """What changes scores and features alike."""
    return {
        "numbers": NUMBERS,
        "models": [member.hash for member in members],
        "precisions": [member.precision for member in members],
        "normalisations": [member.normalisation.state() for member in members],
        "tiles": [settings.TILE_SIZE, settings.TILE_OVERLAP],
        "bar": settings.DATABAR_ROWS,
    }


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]
