"""Which candidates to ask for: uncertainty, diversity, classes and some chance, mixed.

Each score is brought to its standing in the pool before it is weighted, so that a weight means the same for each.
Diversity and classes are looked at again after every pick. Nothing here knows models or settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Float32

from srpu.active import reasons
from srpu.active.cover import Cover, least_covered
from srpu.active.diversity import ClusterBased, CoreSet, ranks
from srpu.active.query import Query
from srpu.active.reach import Features, Reach, as_floats

Clash = Callable[[int, int], bool]

BALANCE_WEIGHT = 0.5
"""What rare classes count, where all uncertainty together counts 1."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Something that could be asked for.

    Attributes:
        query: What it is.
        scores: How unsure the model is, 0 to 1, by strategy; NaN counts as the least.
        shares: Predicted share of each class, 0 to 1; empty without a model.
        group: Its specimen.
    """

    query: Query
    scores: Mapping[str, float]
    shares: Float[np.ndarray, " c"]
    group: str


@dataclass(frozen=True)
class Mix:
    """What counts how much.

    Attributes:
        uncertainty: Weight of each strategy; only their ratios count: together they weigh 1.
        diversity: Weight of "core_set" and "cluster_based" beside the 1 of uncertainty.
        balance: Whether rare classes count, with :data:`BALANCE_WEIGHT`.
        exploration: How much chance there is: the chance of a candidate falls with its place p in the order of scores
            as p to the power -1/exploration. 0: none.
    """

    uncertainty: Mapping[str, float]
    diversity: Mapping[str, float] = field(default_factory=dict)
    balance: bool = True
    exploration: float = 0.0


@dataclass(frozen=True)
class Pick:
    """What is asked for.

    Attributes:
        index: Which candidate it is.
        query: Its query.
        score: The mix, 0 to 1, when it was picked; 0 where chance alone decides.
        scores: Each strategy's score; "core_set", "cluster_based" and "balance" as they were when it was picked.
        reason: Why, in words.
        rank: From 1, in the order of picking.
    """

    index: int
    query: Query
    score: float
    scores: dict[str, float]
    reason: str
    rank: int


class Part(Protocol):
    """A score that changes while picks are made."""

    def scores(self) -> Float32[np.ndarray, " n"]:
        """Of each candidate, 0 to 1."""

    def take(self, index: int) -> None:
        """A candidate was picked."""


def exploration(setting: float, round: int, rounds: int) -> float:
    """How much chance a round has: all of ``setting`` in the first, none in the last, in between on a line.

    >>> [exploration(1.0, number, 5) for number in (1, 2, 5)]
    [1.0, 0.75, 0.0]
    """
    if round >= rounds:
        return 0.0
    return setting * (rounds - max(1, round)) / (rounds - 1)


def choose(
    candidates: Sequence[Candidate],
    features: Features,
    labelled: Features,
    mix: Mix,
    count: int,
    random: np.random.Generator,
    *,
    classes: Sequence[str] = (),
    clash: Clash | None = None,
) -> list[Pick]:
    """The batch to ask for, one pick after the other, each the best given those before.

    Chance is Gumbel noise on minus the logarithm of the place in the order of scores ("soft rank", Kirsch et al.,
    arXiv:2106.12059): with ``mix.exploration`` = 1, the tenth is drawn a tenth as often as the first. Without it the
    answer depends on nothing but the arguments.

    Args:
        candidates: The pool.
        features: One row for each of them.
        labelled: Features of what is labelled already; may have no rows.
        mix: What counts how much.
        count: How many to pick.
        random: Where chance comes from.
        classes: Names of the classes, for the reasons.
        clash: Whether two candidates must not be asked for together; overlapping windows never are. Called only for
            what is about to be picked.

    Returns:
        Fewer than ``count`` where there are not so many, or where too many clash.
    """
    if len(features) != len(candidates):
        raise ValueError(f"there are {len(candidates)} candidates and {len(features)} rows of features")
    batch = _Batch(candidates, clash)
    pool = _Pool(candidates, features, labelled, mix, count, classes)
    noise = mix.exploration * random.gumbel(size=len(candidates)) if mix.exploration > 0 else None
    picks: list[Pick] = []
    while len(picks) < count and batch.free.any():
        score = pool.score()
        score[~batch.free] = -1
        places = _places(score) if noise is not None else None
        index = batch.best(score if places is None else noise - np.log(places))
        if index is None:
            break
        lucky = places is not None and bool(places[index] > count - len(picks))
        picks.append(pool.pick(index, float(score[index]), len(picks) + 1, lucky))
        pool.take(index)
    return picks


def by_chance(
    candidates: Sequence[Candidate], count: int, random: np.random.Generator, *, clash: Clash | None = None
) -> list[Pick]:
    """Picks drawn at random, each as likely as any other: what choosing is to be compared with."""
    batch = _Batch(candidates, clash)
    drawn = (index for index in random.permutation(len(candidates)).tolist() if batch.admits(index))
    return [
        Pick(index, candidates[index].query, 0.0, dict(candidates[index].scores), reasons.BY_CHANCE, rank)
        for rank, index in _first(drawn, count)
    ]


def by_class(
    candidates: Sequence[Candidate],
    count: int,
    random: np.random.Generator,
    *,
    classes: Sequence[str] = (),
    clash: Clash | None = None,
) -> list[Pick]:
    """Picks drawn at random so that all predicted classes get their turn, the rare ones too.

    Each pick is drawn for the class that the picks before it hold least of, with the predicted share of that class as
    its chance.

    Args:
        candidates: The pool.
        count: How many to pick.
        random: Where chance comes from.
        classes: Names of the classes, for the reasons.
        clash: As in :func:`choose`.
    """
    batch, shares = _Batch(candidates, clash), _shares(candidates)
    held = np.zeros(shares.shape[1])
    names = reasons.names(classes, len(held))
    picks: list[Pick] = []
    while len(picks) < count and batch.free.any():
        wanted = least_covered(shares, batch.free, held)
        chance = np.where(batch.free, 1.0 if wanted is None else shares[:, wanted], 0.0).astype(np.float64)
        index = int(random.choice(len(candidates), p=chance / chance.sum()))
        if not batch.admits(index):
            continue
        why = reasons.BY_CHANCE if wanted is None else reasons.of_class(names[wanted], float(shares[index, wanted]))
        one = candidates[index]
        picks.append(Pick(index, one.query, 0.0, dict(one.scores), why, len(picks) + 1))
        held += shares[index]
    return picks


def overlap(one: Query, other: Query) -> bool:
    """Whether two queries share pixels.

    >>> from srpu.active.query import Window
    >>> left, right = Window(0, 0, 8, 8), Window(0, 8, 8, 8)
    >>> overlap(Query("a", "a", left), Query("a", "a", right)), overlap(Query("a", "a", left), Query("a", "a"))
    (False, True)
    """
    if one.image != other.image:
        return False
    if one.window is None or other.window is None:
        return True
    a, b = one.window, other.window
    rows = max(a.top, b.top) < min(a.top + a.height, b.top + b.height)
    return rows and max(a.left, b.left) < min(a.left + a.width, b.left + b.width)


class _Batch:
    """What has been picked, and what can still be.

    Attributes:
        free: Which candidates are neither picked nor known to clash with what is.
    """

    def __init__(self, candidates: Sequence[Candidate], clash: Clash | None) -> None:
        self._candidates, self._clash = candidates, clash
        self._picked: list[int] = []
        self._of_image: dict[str, list[Query]] = {}
        self.free: Bool[np.ndarray, " n"] = np.ones(len(candidates), np.bool_)

    def admits(self, index: int) -> bool:
        """Take a candidate unless it clashes; it is no longer free in both cases."""
        self.free[index] = False
        query = self._candidates[index].query
        if any(overlap(query, other) for other in self._of_image.get(query.image, [])):
            return False
        if self._clash is not None and any(self._clash(index, other) for other in self._picked):
            return False
        self._picked.append(index)
        self._of_image.setdefault(query.image, []).append(query)
        return True

    def best(self, keys: Float[np.ndarray, " n"]) -> int | None:
        """Take the free candidate with the highest key that does not clash; None: there is none."""
        keys = np.where(self.free, keys, -np.inf)
        while self.free.any():
            index = int(keys.argmax())
            if self.admits(index):
                return index
            keys[index] = -np.inf
        return None


class _Pool:
    """The scores of all candidates, those that stay and those that change."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        features: Features,
        labelled: Features,
        mix: Mix,
        count: int,
        classes: Sequence[str],
    ) -> None:
        self._candidates = candidates
        self._labelled = len(labelled) > 0
        shares = _shares(candidates)
        self._names = reasons.names(classes, shares.shape[1]) if mix.balance else []
        self._mean = shares.mean(axis=0) if len(shares) else shares
        weights = {name: weight for name, weight in mix.uncertainty.items() if weight > 0}
        self._sorted, self._unsure, self._sum = {}, np.zeros(len(candidates), np.float32), 0.0
        for name, weight in weights.items():
            raw = np.nan_to_num(np.array([one.scores[name] for one in candidates], np.float64))
            self._unsure += np.float32(weight / sum(weights.values())) * ranks(raw)
            self._sorted[name] = np.sort(raw)
            self._sum = 1.0
        self._parts = list(_parts(features, labelled, shares, mix, count))
        self._sum += sum(weight for _, weight, _ in self._parts)
        self._now: dict[str, Float32[np.ndarray, " n"]] = {}

    def score(self) -> Float32[np.ndarray, " n"]:
        """The mix as it is now."""
        self._now = {name: part.scores() for name, _, part in self._parts}
        total = self._unsure.copy()
        for name, weight, _ in self._parts:
            total += np.float32(weight) * self._now[name]
        return total / np.float32(self._sum or 1.0)

    def take(self, index: int) -> None:
        """A candidate was picked."""
        for _, _, part in self._parts:
            part.take(index)
        self._labelled = True

    def pick(self, index: int, score: float, rank: int, lucky: bool) -> Pick:
        """What is known of a pick."""
        one = self._candidates[index]
        changing = {name: float(scores[index]) for name, scores in self._now.items()}
        facts = reasons.Facts(
            uncertainty=one.scores,
            above={
                name: 1 - float(np.searchsorted(held, np.nan_to_num(one.scores[name]))) / len(held)
                for name, held in self._sorted.items()
            },
            diversity=changing,
            shares=dict(zip(self._names, one.shares.tolist(), strict=False)),
            mean=dict(zip(self._names, self._mean.tolist(), strict=False)),
            labelled=self._labelled,
            lucky=lucky,
        )
        return Pick(index, one.query, score, {**one.scores, **changing}, reasons.reason(facts), rank)


def _parts(
    features: Features, labelled: Features, shares: Float32[np.ndarray, "n c"], mix: Mix, count: int
) -> Iterator[tuple[str, float, Part]]:
    """What changes while picks are made: name, weight, score."""
    points = as_floats(features)
    if (weight := mix.diversity.get("core_set", 0.0)) > 0:
        yield "core_set", weight, CoreSet(Reach(points, labelled))
    if (weight := mix.diversity.get("cluster_based", 0.0)) > 0:
        yield "cluster_based", weight, ClusterBased(points, labelled, count)
    if mix.balance and shares.shape[1]:
        yield "balance", BALANCE_WEIGHT, Cover(shares)


def _shares(candidates: Sequence[Candidate]) -> Float32[np.ndarray, "n c"]:
    if not candidates:
        return np.zeros((0, 0), np.float32)
    return np.nan_to_num(np.array([one.shares for one in candidates], np.float32))


def _places(score: Float32[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The place of each in the order of scores, from 1; equals share the first of theirs.

    >>> _places(np.array([0.2, 0.9, 0.2, 0.1], np.float32)).tolist()
    [2.0, 1.0, 2.0, 4.0]
    """
    order = np.argsort(-score)
    ordered = score[order]
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    places = np.empty(len(score))
    places[order] = np.maximum.accumulate(np.where(new, np.arange(1, len(score) + 1), 0))
    return places


def _first(drawn: Iterator[int], count: int) -> Iterator[tuple[int, int]]:
    for rank in range(1, count + 1):
        index = next(drawn, None)
        if index is None:
            return
        yield rank, index
