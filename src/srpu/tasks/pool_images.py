"""The images of a pool, one after the other: opened ahead, or remembered; memory does not grow with their number."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float16, Shaped

from srpu.active.store import Store
from srpu.data.index import Record
from srpu.errors import DataError, ImageError, ModelError
from srpu.progress import track
from srpu.tasks.wiring import Opener, enough_memory

log = logging.getLogger(__name__)

Facts = dict[str, Any]
Features = Float16[np.ndarray, " d"]

AHEAD = 2
"""Images that are read while the model is at work on the one before."""

ASKED_AT_ONCE = 100
"""Images whose remembered results are read together."""

SECONDS = 5.0
"""How much work a killed process has to do again at most, or :data:`KEPT_AT_ONCE` images."""

KEPT_AT_ONCE = 100

MADE_OF = "made_of"
"""The entry of remembered results that tells what else they depend on than on the images and the key."""


@dataclass(frozen=True, eq=False)
class _Job:
    """An image: what is remembered of it, or else its grey levels, which a thread may still be reading."""

    record: Record
    made_of: str
    known: tuple[Facts, Features | None] | None
    opened: Future[Shaped[np.ndarray, "h w"]] | None = None


@dataclass
class Walk:
    """A walk over images that gives what is known of each, and remembers what was not known.

    Attributes:
        records: The images, in the order of their ids.
        key: Of the results in the store: it names all that they depend on and that is the same for all images.
        made_of: What the results of one image depend on besides.
        compute: From a record and its grey levels without data bar to plain values and features.
        problems: One sentence for each image that could not be read.
    """

    records: Sequence[Record]
    key: str
    made_of: Callable[[Record], str]
    compute: Callable[[Record, Shaped[np.ndarray, "h w"]], tuple[Facts, Features | None]]
    problems: list[str] = field(default_factory=list)

    def over(self, opener: Opener, store: Store, doing: str) -> Iterator[tuple[Record, Facts, Features | None]]:
        """Each readable image with what was found; at the end, a warning for each of the others.

        Args:
            opener: Opens images.
            store: Holds what was found before, and gets what is found now, within a few seconds.
            doing: What the user sees meanwhile.

        Raises:
            ImageError: No image can be read.
            SettingsError: The memory is too small.
        """
        read = 0
        keeper = _Keeper(store, self.key)
        jobs = _open_ahead(self._jobs(store), opener)
        try:
            with closing(jobs):
                for job in track(jobs, doing, len(self.records)):
                    known = job.known
                    if known is None:
                        known = self._attempt(job)
                        if known is None:
                            continue
                        keeper.keep(job.record.sha256, *known)
                    read += 1
                    yield job.record, *known
        finally:
            keeper.write()
        self._say(read)

    def _jobs(self, store: Store) -> Iterator[_Job]:
        """Each image, with what the store holds of it if that was made in the same way."""
        for start in range(0, len(self.records), ASKED_AT_ONCE):
            part = self.records[start : start + ASKED_AT_ONCE]
            hashes = [record.sha256 for record in part]
            found = {image: (facts, features) for image, facts, features in store.scores(self.key, hashes)}
            for record in part:
                facts, features = found.get(record.sha256, ({}, None))
                made_of = self.made_of(record)
                yield _Job(record, made_of, (facts, features) if facts.get(MADE_OF) == made_of else None)

    def _attempt(self, job: _Job) -> tuple[Facts, Features | None] | None:
        """What is found in an image; None, with a problem noted, if it cannot be read."""
        assert job.opened is not None  # noqa: S101  (what is not remembered is opened)
        try:
            image = job.opened.result()
        except DataError as error:
            self.problems.append(str(error))
            return None
        except OSError as error:
            self.problems.append(f"{error.filename} cannot be read ({error.strerror}); check that it is there.")
            return None
        except MemoryError:  # a broken header may ask for any size
            self.problems.append(f"{job.record.image} does not fit into memory; cut it into smaller images.")
            return None
        try:
            with enough_memory("halve SCORING_BATCH_SIZE or TILE_SIZE and go on: what is done stays"):
                facts, features = self.compute(job.record, image)
        except (DataError, ModelError) as error:
            self.problems.append(f"{job.record.id}: {error}")
            return None
        return {**facts, MADE_OF: job.made_of}, features

    def _say(self, read: int) -> None:
        if self.problems and not read:
            raise ImageError(f"None of {len(self.problems)} images can be looked at: {self.problems[0]}")
        if self.problems:
            log.warning("%d of %d images are left out:", len(self.problems), len(self.problems) + read)
        for problem in self.problems:
            log.warning("Left out: %s", problem)


class _Keeper:
    """Writes results into the store, several at once and at least every few seconds."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self._waiting: list[tuple[str, Mapping[str, Any], np.ndarray | None]] = []
        self._written = time.monotonic()

    def keep(self, image: str, facts: Facts, features: Features | None) -> None:
        self._waiting.append((image, facts, features))
        if len(self._waiting) >= KEPT_AT_ONCE or time.monotonic() - self._written > SECONDS:
            self.write()

    def write(self) -> None:
        if self._waiting:
            self._store.put_scores(self._key, self._waiting)
        self._waiting, self._written = [], time.monotonic()


def _open_ahead(jobs: Iterator[_Job], opener: Opener) -> Generator[_Job]:
    """The jobs in their order, those that are not known with their images, which a thread opens in advance."""

    def visible(record: Record) -> Shaped[np.ndarray, "h w"]:
        return opener.image(record)[: opener.rows(record)]

    waiting: deque[_Job] = deque()
    threads = ThreadPoolExecutor(max_workers=1)
    try:
        for job in jobs:
            waiting.append(job if job.known else replace(job, opened=threads.submit(visible, job.record)))
            if len(waiting) > AHEAD:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
