"""What active learning remembers: images, labels, queries, rounds, scores and models, in one SQLite file.

Nothing is changed or deleted: a label, an answer or a promotion is taken back by a further row. Each method that writes
is one transaction, so a process that is killed leaves all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16
from sqlalchemy import Connection, Engine, Row, Table, insert, select
from sqlalchemy.exc import DatabaseError

from srpu.active import schema
from srpu.active.entries import PHASES, AskedQuery, Label, Phase, Promotion, Round, State, StoredImage
from srpu.active.labels import Ids, ids_hash, label_path, read_label, write_label
from srpu.active.lock import one_writer
from srpu.active.query import Query, Window
from srpu.data.classes import IGNORE
from srpu.errors import StoreError

FILE = "store.db"

_AT_ONCE = 100  # scores in a transaction: what a killed process computes again
_ANSWERS = {"answered": "answered", "skipped": "skipped", "returned": "returned", "reopened": "open"}


class Store:
    """The store in a folder; :meth:`open` it."""

    def __init__(self, folder: Path, engine: Engine, backups: Path) -> None:
        self.folder = folder
        self._engine = engine
        self._backups = backups

    @classmethod
    @contextmanager
    def open(cls, folder: Path, *, read_only: bool = False, backups: Path | None = None) -> Iterator[Store]:
        """The store in ``folder``, which is made if it is not there; nobody else writes to it meanwhile.

        Args:
            folder: ``active_learning/`` of a workspace.
            read_only: Look only, also while somebody else is at work.
            backups: Where an older store is copied before it is brought up to date.

        Raises:
            StoreError: It is damaged, from a newer SRPU, in use, or missing and ``read_only``.
        """
        backups = backups or folder / "backups"
        with nullcontext() if read_only else one_writer(folder):
            engine = schema.open_engine(folder / FILE, backups, read_only=read_only)
            try:
                yield cls(folder, engine, backups)
            finally:
                engine.dispose()

    # images

    def remember_images(self, images: Iterable[StoredImage]) -> None:
        """Know these images; what was known of one under the same hash is replaced."""
        self._replace(schema.images, [asdict(image) for image in images])

    def images(self) -> dict[str, StoredImage]:
        """Every known image by its hash."""
        return {row.sha256: StoredImage(*tuple(row)) for row in self._read(select(schema.images))}

    # labels

    def accept(
        self,
        image: str,
        ids: Ids,
        *,
        state: State,
        who: str,
        window: Window | None = None,
        shape: tuple[int, int] | None = None,
        prediction: str | None = None,
        query: AskedQuery | None = None,
        batch: str | None = None,
    ) -> Label:
        """Keep a mask: first its file, then, with the answer to ``query``, its row.

        Args:
            image: Hash of the image's pixels.
            ids: Class ids (h, w) of the image, or of the window; 255 where nothing is labelled.
            state: How it came about.
            who: Who made it.
            window: The part that ``ids`` show; it is laid over what is labelled already, except where it is 255.
            shape: Height and width of the image, which the first window of it needs.
            prediction: Hash of the model whose prediction it began as.
            query: What it answers.
            batch: A name for what is taken in, and taken back, together; None: it is never taken back by :meth:`undo`.

        Raises:
            StoreError: A mask that is merged with cannot be read.
            ValueError: It is the first window of the image, and there is no ``shape``.
            WorkspaceError: The disk is full.
        """
        whole = ids
        if window is not None:
            before = self.current().get(image)
            if before is None and shape is None:
                raise ValueError("the first window of an image needs the image's shape")
            whole = np.full(shape or (), IGNORE, np.uint8) if before is None else self.ids(before)
            part = whole[window.slices]
            whole[window.slices] = np.where(ids == IGNORE, part, ids)
        mask = write_label(self.folder, whole)
        row = {
            "image": image,
            "mask": mask,
            "state": state,
            "who": who,
            "when": _now(),
            "window": None if window is None else list(window),
            "prediction": prediction,
            "round": query.round if query else None,
            "query": query.number if query else None,
        }
        with self._writing() as connection:
            number = int(connection.execute(insert(schema.labels).values(row)).lastrowid)
            if batch is not None:
                _event(connection, "taken in", number, {"batch": batch})
            if query is not None:
                _event(connection, "answered", query.number, {"label": number})
        return _label(self._read(select(schema.labels).where(schema.labels.c.number == number))[0])

    def labels(self) -> list[Label]:
        """Every label that was ever accepted, the oldest first."""
        rows = self._read(select(schema.labels).order_by(schema.labels.c.number))
        return [_label(row) for row in rows]

    def current(self) -> dict[str, Label]:
        """The newest label of each image that was not taken back."""
        revoked = {row.subject for row in self._events("revoked")}
        return {label.image: label for label in self.labels() if label.number not in revoked}

    def ids(self, label: Label) -> Ids:
        """The class ids (h, w) of a label.

        Raises:
            StoreError: Its file is gone or damaged.
        """
        return read_label(label_path(self.folder, label.mask))

    @staticmethod
    def is_same(label: Label, ids: Ids) -> bool:
        """Whether the label's mask is ``ids``."""
        return label.mask == ids_hash(ids)

    def revoke(self, labels: Sequence[Label], *, who: str, why: str) -> None:
        """Take labels back: the ones before them hold again, and queries that they answered are open again."""
        with self._writing() as connection:
            for label in labels:
                _event(connection, "revoked", label.number, {"who": who, "why": why})
                if label.query is not None:
                    _event(connection, "reopened", label.query, {"why": why})

    # rounds

    def begin_round(self, number: int, **facts: Any) -> Round:
        """A new round.

        Raises:
            StoreError: It has begun already.
        """
        if any(round_.number == number for round_ in self.rounds()):
            raise StoreError(f"Round {number} has begun already; `srpu active status` tells where it stands.")
        return self._note(number, "begun", facts)

    def note(self, number: int, phase: Phase, **facts: Any) -> Round:
        """A round has come to ``phase``, which is the present one or a later one; facts are added.

        Raises:
            StoreError: There is no such round, or it is further already.
        """
        before = next((round_ for round_ in self.rounds() if round_.number == number), None)
        if before is None or PHASES.index(phase) < PHASES.index(before.phase):
            there = "has not begun" if before is None else f"is {before.phase} already"
            raise StoreError(f"Round {number} {there}, so it cannot be {phase} now.")
        return self._note(number, phase, facts)

    def rounds(self) -> list[Round]:
        """Every round, the first one first."""
        found: dict[int, Round] = {}
        for row in self._events("round"):
            before = found.get(row.subject, Round(row.subject, "begun", {}, row.when))
            facts = dict(row.facts)
            found[row.subject] = replace(before, phase=facts.pop("phase"), facts={**before.facts, **facts})
        return [found[number] for number in sorted(found)]

    def last_round(self) -> Round | None:
        """The newest round."""
        rounds = self.rounds()
        return rounds[-1] if rounds else None

    # queries

    def ask(self, number: int, queries: Sequence[tuple[Query, Mapping[str, Any]]]) -> list[AskedQuery]:
        """A round asks for ``queries``, each with what is known of it."""
        with self._writing() as connection:
            for query, facts in queries:
                connection.execute(
                    insert(schema.queries).values(
                        round=number,
                        image=query.image,
                        id=query.id,
                        window=None if query.window is None else list(query.window),
                        facts=dict(facts),
                    )
                )
        return self.asked(number)

    def asked(self, number: int | None = None, state: str | None = None) -> list[AskedQuery]:
        """The queries of a round, or of all, in a state, or in all; the oldest first."""
        states = {row.subject: _ANSWERS[row.kind] for row in self._events(*_ANSWERS)}
        wanted = select(schema.queries).order_by(schema.queries.c.number)
        if number is not None:
            wanted = wanted.where(schema.queries.c.round == number)
        found = [
            AskedQuery(
                row.number,
                row.round,
                Query(row.image, row.id, None if row.window is None else Window(*row.window)),
                row.facts,
                states.get(row.number, "open"),
            )
            for row in self._read(wanted)
        ]
        return [one for one in found if state is None or one.state == state]

    def skip(self, asked: AskedQuery, why: str) -> None:
        """Leave a query out for good."""
        with self._writing() as connection:
            _event(connection, "skipped", asked.number, {"why": why})

    def give_back(self, asked: Sequence[AskedQuery], why: str) -> None:
        """Give queries back to the pool."""
        with self._writing() as connection:
            for one in asked:
                _event(connection, "returned", one.number, {"why": why})

    # scores

    def put_scores(self, model: str, items: Iterable[tuple[str, Mapping[str, Any], np.ndarray | None]]) -> None:
        """Remember what ``model`` finds in images, given by hash, as they come."""
        batch: list[dict[str, Any]] = []
        for image, found, features in items:
            blob = None if features is None else np.asarray(features, np.float16).tobytes()
            batch.append({"model": model, "image": image, "scores": dict(found), "features": blob})
            if len(batch) >= _AT_ONCE:
                self._replace(schema.scores, batch)
                batch = []
        self._replace(schema.scores, batch)

    def scored(self, model: str) -> set[str]:
        """The images that ``model`` has scored."""
        return {row.image for row in self._read(select(schema.scores.c.image).where(schema.scores.c.model == model))}

    def scores(
        self, model: str, images: Sequence[str] | None = None
    ) -> Iterator[tuple[str, dict[str, Any], Float16[np.ndarray, " d"] | None]]:
        """What ``model`` found, by image in the order of hashes, one at a time; in a few ``images`` or in all.

        Only a part is read at once, and nothing is held between parts: whoever iterates may write.
        """
        table = schema.scores
        wanted = select(table.c.image, table.c.scores, table.c.features).where(table.c.model == model)
        wanted = wanted if images is None else wanted.where(table.c.image.in_(images))
        part = self._read(wanted.order_by(table.c.image).limit(_AT_ONCE))
        while part:
            for row in part:
                features = None if row.features is None else np.frombuffer(row.features, np.float16)
                yield row.image, row.scores, features
            later = wanted.where(table.c.image > part[-1].image)
            part = self._read(later.order_by(table.c.image).limit(_AT_ONCE))

    # models

    def promote(self, number: int, path: str, model: str, **facts: Any) -> None:
        """The model of a round is the current one."""
        with self._writing() as connection:
            _event(connection, "promoted", number, {"path": path, "model": model, **facts})

    def keep(self, number: int, **facts: Any) -> None:
        """The model of a round does not become the current one."""
        with self._writing() as connection:
            _event(connection, "kept", number, facts)

    def promotions(self) -> list[Promotion]:
        """The models that were promoted and not taken back, the newest last."""
        found: list[tuple[int, Promotion]] = []
        for row in self._events("promoted", "demoted"):
            if row.kind == "demoted":
                found = [(number, one) for number, one in found if number != row.facts["promotion"]]
            else:
                facts = dict(row.facts)
                found.append((row.number, Promotion(row.subject, facts.pop("path"), facts.pop("model"), facts)))
        return [one for _, one in found]

    def current_model(self) -> Promotion | None:
        """The model that the last promotion made current."""
        promotions = self.promotions()
        return promotions[-1] if promotions else None

    def undo(self, *, who: str, why: str = "undone") -> str:
        """Take back the last take-in or the last promotion, whichever is newer; gives what was taken back, in words.

        Raises:
            StoreError: There is nothing to take back.
        """
        demoted = {row.facts["promotion"] for row in self._events("demoted")}
        revoked = {row.subject for row in self._events("revoked")}
        every = self._events("promoted", "taken in")
        newest = next((row for row in reversed(every) if row.number not in demoted and not _gone(row, revoked)), None)
        if newest is None:
            raise StoreError("There is nothing to take back: no mask was taken in and no model promoted.")
        if newest.kind == "promoted":
            with self._writing() as connection:
                facts = {"promotion": newest.number, "who": who, "why": why}
                _event(connection, "demoted", newest.subject, facts)
            now = self.current_model()
            after = f"the model of round {now.round} is the current one" if now else "there is no current model"
            return f"The promotion of the model of round {newest.subject} is taken back; {after}."
        batch = [row.subject for row in every if row.facts.get("batch") == newest.facts["batch"]]
        labels = [label for label in self.labels() if label.number in batch and label.number not in revoked]
        self.revoke(labels, who=who, why=why)
        return f"Masks taken back: {len(labels)}; they stay in {self.folder / 'labels'}."

    def history(self) -> dict[str, Any]:
        """All of it in plain values, without scores."""
        return {
            "rounds": [asdict(one) for one in self.rounds()],
            "labels": [asdict(one) for one in self.labels()],
            "taken in": [row.subject for row in self._events("taken in")],
            "revoked": [row.subject for row in self._events("revoked")],
            "queries": [
                {"number": one.number, "round": one.round, "name": one.query.name, "state": one.state}
                for one in self.asked()
            ],
            "promotions": [asdict(one) for one in self.promotions()],
        }

    def _note(self, number: int, phase: Phase, facts: Mapping[str, Any]) -> Round:
        with self._writing() as connection:
            _event(connection, "round", number, {"phase": phase, **facts})
        return next(round_ for round_ in self.rounds() if round_.number == number)

    def _replace(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows in the place of those with the same keys."""
        if rows:
            with self._writing() as connection:
                connection.execute(insert(table).prefix_with("OR REPLACE"), rows)

    def _events(self, *kinds: str) -> list[Row[Any]]:
        table = schema.events
        return self._read(select(table).where(table.c.kind.in_(kinds)).order_by(table.c.number))

    def _read(self, wanted: Any) -> list[Row[Any]]:
        with self._in_order(), self._engine.connect() as connection:
            return list(connection.execute(wanted))

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._in_order(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _in_order(self) -> Iterator[None]:
        """Turn what the database says into one sentence."""
        try:
            yield
        except DatabaseError as error:
            raise StoreError(schema.refusal(self.folder / FILE, self._backups, error)) from error


def _event(connection: Connection, kind: str, subject: int, facts: Mapping[str, Any]) -> None:
    connection.execute(insert(schema.events).values(when=_now(), kind=kind, subject=subject, facts=dict(facts)))


def _gone(row: Row[Any], revoked: set[int]) -> bool:
    return row.kind == "taken in" and row.subject in revoked


def _label(row: Row[Any]) -> Label:
    values = dict(row._mapping)
    return Label(**{**values, "window": None if values["window"] is None else Window(*values["window"])})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
