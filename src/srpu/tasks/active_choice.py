"""What a round asks for: from the scores of the pool to queries and their reasons."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float

from srpu.active.query import Query
from srpu.active.store import Store
from srpu.active.uncertainty import ENSEMBLE
from srpu.data.fingerprint import Mould
from srpu.data.index import Record
from srpu.settings import ActiveLearningSettings, weights
from srpu.tasks.active_labeled import VALIDATION
from srpu.tasks.active_material import Material, Pool, read_pool, training_records
from srpu.tasks.active_places import Places
from srpu.tasks.active_training import ensemble_size
from srpu.tasks.pool_models import Member, read_member, untrained_member
from srpu.tasks.pool_scores import Scored, features_of, score_pool
from srpu.tasks.protected import protected
from srpu.tasks.readings import look
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

Asked = list[tuple[Query, Mapping[str, Any]]]

LAST_MODELS = 3
"""Promoted models that make up an ensemble where ENSEMBLE_SIZE trains none."""

BINS = 20
"""Of the histogram of the pool's scores, over [0, 1]."""


def pool_size(places: Places, store: Store, material: Material) -> int:
    """How many images may still be asked for, in whole or in part."""
    return len(read_pool(places, store, material).records)


def choose(places: Places, store: Store, material: Material, number: int) -> Asked:
    """What the round asks for, the most wanted first; what is known of the pool is noted in the round."""
    from srpu.active import select  # scikit-learn takes seconds

    settings = places.settings
    pool = read_pool(places, store, material)
    _say_refused(pool)
    if not pool.records:
        return []
    members = read_members(places, store)
    scored = list(score_pool(members, pool.records, settings, places.workspace, store, pool.taken))
    if not scored:  # in no image enough is left for a window
        return []
    images = {record.sha256: record for record in pool.records}
    mix = select.Mix(
        uncertainty=weights(settings.UNCERTAINTY_STRATEGIES),
        diversity=weights(settings.DIVERSITY_STRATEGIES),
        balance=settings.BALANCE_CLASSES,
        exploration=select.exploration(settings.EXPLORATION, number, settings.MAX_ACTIVE_LEARNING_ROUNDS),
    )
    candidates = [select.Candidate(one.query, one.scores, one.shares, images[one.query.image].group) for one in scored]
    features = np.stack([one.features for one in scored]).astype(np.float32)
    labelled = labelled_features(members[0], places, store, material, features.shape[1])
    alike = Alike(images, settings, places.workspace)
    refused: dict[str, str] = {}
    while True:
        left = [n for n, one in enumerate(candidates) if one.query.image not in refused]

        def clash(one: int, other: int, left: Sequence[int] = left) -> bool:
            return alike(scored[left[one]].query, scored[left[other]].query)

        picks = select.choose(
            [candidates[n] for n in left],
            features[left],
            labelled,
            mix,
            settings.BATCH_SIZE_TO_LABEL,
            np.random.default_rng((settings.SEED, number)),
            classes=tuple(settings.CLASS_NAMES[id_] for id_ in range(settings.NUM_CLASSES)),
            clash=clash,
        )
        asked = {pick.query.image: images[pick.query.image] for pick in picks}
        found = protected(material.labelled, list(asked.values()), settings, places.workspace, exact=True)
        if not found:
            break
        refused |= found
    _note_pool(store, number, pool, scored, len(picks), settings)
    return [
        (pick.query, {"score": pick.score, "scores": pick.scores, "reason": pick.reason, "rank": pick.rank})
        for pick in picks
    ]


def read_members(places: Places, store: Store) -> list[Member]:
    """The current model and, where models are asked how much they disagree, further ones."""
    settings, workspace = places.settings, places.workspace
    promotions = store.promotions()
    current = promotions[-1]
    paths = [current.path]
    if ENSEMBLE in weights(settings.UNCERTAINTY_STRATEGIES):
        if ensemble_size(settings) > 1:
            paths += next(one for one in store.rounds() if one.number == current.round).facts.get("members", [])
        else:
            paths += [one.path for one in reversed(promotions[-LAST_MODELS:-1])]
    return [read_member(workspace.path(path), settings) for path in paths]


def labelled_features(
    member: Member, places: Places, store: Store, material: Material, width: int
) -> Float[np.ndarray, "m d"]:
    """What the encoder makes of what is labelled: of whole images, or of the windows that were answered."""
    training = training_records(places, store, material)
    windows: dict[str, list[Any]] = {}
    for one in store.asked(state="answered"):
        if one.query.window is not None:
            windows.setdefault(one.query.image, []).append(one.query.window)
    found = features_of(member, training, places.settings, places.workspace, store, windows=windows)
    rows = [features for _, features in found]
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, width), np.float32)


def choose_first(places: Places, store: Store, material: Material) -> Asked:
    """What to label before there is a model: images for validation by chance, and typical, different ones to train on.

    The former are drawn only where there are none, at most from half of the specimens.
    """
    settings = places.settings
    pool = read_pool(places, store, material)
    _say_refused(pool)
    rng = np.random.default_rng((settings.SEED, 0))
    judged = _draw_validation(pool, material, places, rng)
    fake = [replace(record, split="val") for record in judged]
    kept = {record.sha256 for record in judged} | set(
        protected([*material.labelled, *fake], pool.records, settings, places.workspace, exact=True) if fake else ()
    )
    rest = [record for record in pool.records if record.sha256 not in kept]
    missing = max(settings.INITIAL_LABELED_SIZE - len(training_records(places, store, material)), 0)
    typical = _typical(rest, missing, places, store, material, rng)
    store.note(0, "begun", pool=len(rest) - len(typical))
    facts = [{"for": VALIDATION, "reason": "drawn by chance, for validation"} for _ in judged]
    facts += [{"reason": "typical of many images, and unlike what is labelled"} for _ in typical]
    return [
        (Query(record.sha256, record.id), {**fact, "rank": rank})
        for rank, (record, fact) in enumerate(zip([*judged, *typical], facts, strict=True), start=1)
    ]


def _draw_validation(pool: Pool, material: Material, places: Places, rng: np.random.Generator) -> list[Record]:
    """Images of as many specimens that are not trained on, if nothing can be judged on yet."""
    settings = places.settings
    if material.validation or not settings.VALIDATION_SIZE:
        return []
    if settings.SPLIT_FILE is not None:
        log.warning("SPLIT_FILE names no validation image, so rounds are not judged; name some there.")
        return []
    trained = {record.group for record in material.labelled}
    groups = {
        record.group: record
        for record in rng.permutation(np.array(pool.records, object))
        if record.page is None and record.group not in trained  # the mask of a stack is a stack
    }
    wanted = min(settings.VALIDATION_SIZE, len(groups) // 2)
    if wanted < settings.VALIDATION_SIZE:
        log.warning(
            "The pool shows %d specimens, so %d of VALIDATION_SIZE = %d images are asked for.",
            len(groups),
            wanted,
            settings.VALIDATION_SIZE,
        )
    fit = (record for record in groups.values() if not _shows_what_is_labelled(record, material, places))
    return list(islice(fit, wanted))


def _shows_what_is_labelled(record: Record, material: Material, places: Places) -> bool:
    """Whether an image is nearly the same as one that is trained on, so that it cannot judge."""
    judged = [replace(record, split="val")]
    return bool(protected(judged, material.labelled, places.settings, places.workspace, exact=True))


def _typical(
    records: Sequence[Record],
    count: int,
    places: Places,
    store: Store,
    material: Material,
    rng: np.random.Generator,
) -> list[Record]:
    """Typical and different images, no two of which show the same."""
    from srpu.active import diversity  # scikit-learn takes seconds

    if not records or not count:
        return []
    settings, workspace = places.settings, places.workspace
    member = untrained_member(settings, workspace)
    found = {query.image: row for query, row in features_of(member, records, settings, workspace, store)}
    readable = [record for record in records if record.sha256 in found]
    features = np.stack([found[record.sha256] for record in readable]).astype(np.float32)
    labelled = labelled_features(member, places, store, material, features.shape[1])
    alike = Alike({record.sha256: record for record in readable}, settings, workspace)
    queries = [Query(record.sha256, record.id) for record in readable]
    picks = diversity.typical(
        features, labelled, count, rng, clash=lambda one, other: alike(queries[one], queries[other])
    )
    return [readable[n] for n in picks]


class Alike:
    """Tells whether two images show nearly the same, each being read once."""

    def __init__(self, images: Mapping[str, Record], settings: ActiveLearningSettings, workspace: Workspace) -> None:
        self._images, self._settings, self._workspace = images, settings, workspace
        self._moulds: dict[str, Mould] = {}

    def __call__(self, one: Query, other: Query) -> bool:
        """Whether they must not be asked for together; windows of one image may."""
        if one.image == other.image:
            return False
        if one.name.casefold() == other.name.casefold():  # x.tif and x.png: their files would be one
            return True
        match = self._mould(other).fit(look(self._images[one.image], self._settings, self._workspace).fingerprint)
        return match.correlation >= self._settings.NEAR_DUPLICATE_CORRELATION

    def _mould(self, query: Query) -> Mould:
        if query.image not in self._moulds:
            seen = look(self._images[query.image], self._settings, self._workspace)
            self._moulds[query.image] = Mould(seen.fingerprint)
        return self._moulds[query.image]


def _say_refused(pool: Pool) -> None:
    if pool.refused:
        log.info(
            "%d images may not be asked for, because models are judged on them or their like: %s",
            len(pool.refused),
            next(iter(pool.refused.values())),
        )


def _note_pool(
    store: Store, number: int, pool: Pool, scored: Sequence[Scored], picked: int, settings: ActiveLearningSettings
) -> None:
    """How many are left, and how the pool's scores are spread."""
    histogram = {
        name: np.histogram([one.scores[name] for one in scored], bins=BINS, range=(0, 1))[0].tolist()
        for name in weights(settings.UNCERTAINTY_STRATEGIES)
    }
    left = len(pool.records) - (picked if settings.QUERY == "image" else 0)
    store.note(number, "judged", pool=left, histogram=histogram, refused=len(pool.refused))
