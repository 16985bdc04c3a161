"""Taking corrected masks back: each is found, checked, and kept before the next one is looked at.

Files are only read: whatever is refused stays where it is, with a sentence that says why.
"""

from __future__ import annotations

import filecmp
import logging
import math
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from srpu.active.entries import Label, State
from srpu.active.intake import HandedOut, Stillness, Target
from srpu.active.labels import Ids, ids_hash
from srpu.active.query import Query, Window
from srpu.active.returns import Verdict, changes, cut_out, examine, told
from srpu.active.store import Store
from srpu.data.classes import IGNORE
from srpu.data.images import pixel_hash, read_image
from srpu.data.index import Record
from srpu.errors import DataError, ImageError, MaskError
from srpu.tasks.active_material import annotator, read_material
from srpu.tasks.active_places import Places
from srpu.tasks.judging import write_png
from srpu.tasks.protected import protected
from srpu.tasks.return_files import Part, Reading, ReturnedFile, Said, Search, read_returned, shown_by
from srpu.tasks.return_pictures import draw_repair
from srpu.tasks.wiring import Opener, class_map

log = logging.getLogger(__name__)

Outcome = Literal["taken", "refused", "passed over", "untouched"]


@dataclass
class Answers:
    """How returned masks are treated, and what was seen and said of them in this process.

    Attributes:
        confirm_unchanged: Take masks that came back untouched as found right.
        repair: Take proposed repairs.
        said: Sentences that need not be said again.
        still: Tells which files are whole.
        looked: For each query the files that were judged; nothing new comes of the same files.
    """

    confirm_unchanged: bool = False
    repair: bool = False
    said: set[str] = field(default_factory=set)
    still: Stillness = field(default_factory=Stillness)
    looked: dict[Query, Any] = field(default_factory=dict)


def take_in(places: Places, store: Store, answers: Answers) -> int:
    """Take in every mask that has come back and is fine; gives how many.

    Masks are looked for in the folders of all rounds that wait for some and of the newest ones, in CORRECTED_DIR and in
    LABELED_DIR.

    Raises:
        IndexingError: There is no index, or a folder cannot be opened.
        StoreError: The store is damaged.
        WorkspaceError: The disk is full.
    """
    intake = _Intake(places, store, answers)
    found = intake.search.find()
    whole, young = answers.still.sort([path for paths in found.values() for path in paths])
    for path in young:
        intake.say(path, f"{path} is still being written; it is looked at again.", logging.INFO)
    taken = 0
    for target, paths in found.items():
        there = {path: whole[path] for path in paths if path in whole}
        looked = (target.asked and (target.asked.number, target.asked.state), sorted(there.items()))
        if not there or any(path in young for path in paths) or answers.looked.get(target.query) == looked:
            continue
        taken += intake.answer(target, [ReturnedFile(path, size[1] / 1e9) for path, size in there.items()])
        answers.looked[target.query] = looked
    return taken


class _Intake:
    """One look at everything that came back."""

    def __init__(self, places: Places, store: Store, answers: Answers) -> None:
        self.places, self.store, self.answers = places, store, answers
        self.material = read_material(places)
        self.images = self.material.images
        self.classes = class_map(places.settings)
        self.opener = Opener(places.settings, places.workspace)
        self.batch = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S} {uuid.uuid4().hex[:8]}"
        self.say = Said(answers.said)
        self.asked = store.asked()
        self.rounds = {one.number: one for one in store.rounds()}
        self.handed = {
            number: HandedOut(places.handed(number), places.results(number), self.classes)
            for number in {one.round for one in self.asked}
        }
        self.search = Search(places, self.images, self.asked, self.handed, self.classes, self.say)

    def answer(self, target: Target, files: Iterable[ReturnedFile]) -> int:
        """Take the newest mask that is not just the prediction; gives 1 if one was taken."""
        untouched: tuple[ReturnedFile, Part] | None = None
        for file in sorted(files, key=lambda file: -file.written):
            try:
                part = self._read(target, file)
                if part is None or self._is_no_news(target, file, part):
                    continue
                outcome = self._check(target, file, part)
            except DataError as error:
                self.say(file.path, str(error))
                return 0
            if outcome == "untouched":
                untouched = untouched or (file, part)
            elif outcome != "passed over":
                return int(outcome == "taken")
        return 0 if untouched is None else self._untouched(target, *untouched)

    # reading

    def _read(self, target: Target, file: ReturnedFile) -> Part | None:
        """What the file holds; None: it is no answer.

        Raises:
            DataError: It cannot be read, or does not fit.
        """
        query, record = target.query, shown_by(target.query, self.images, self.opener, file.path)
        try:
            reading = read_returned(file.path, self.classes)
        except MaskError:
            if self._is_the_image(target, record, file.path) or self._is_old(target, file):
                return None
            raise
        rows = self.opener.rows(record)
        cut = self._handed(target).cut(query) if target.asked else None
        ids = cut_out(reading.ids, (record.height, record.width), query.window, cut, record.height - rows, file.path)
        if query.window is not None:
            whole_image = reading.ids.shape not in (ids.shape, (cut.height, cut.width) if cut else ids.shape)
            if whole_image and (ids == IGNORE).all():
                return None  # the labels of other windows
            rows = min(max(rows - query.window.top, 0), query.window.height)
        return Part(record, ids, rows, reading)

    def _is_the_image(self, target: Target, record: Record, path: Path) -> bool:
        """Whether the file is no mask but the picture to label, copied along."""
        if target.asked is not None:
            shown = self.places.handed(target.asked.round) / f"{target.query.name}.tif"
            if shown.is_file() and filecmp.cmp(path, shown, shallow=False):
                return True
        try:
            return pixel_hash(read_image(path)) == record.sha256
        except ImageError:
            return False

    def _is_old(self, target: Target, file: ReturnedFile) -> bool:
        """Whether what the file may answer is answered already, by something newer."""
        revoked, query = set(self.store.history()["revoked"]), target.query
        newest = max(
            (
                _seconds(label.when)
                for label in self.store.labels()
                if label.image == query.image
                and label.number not in revoked
                and (query.window is None or label.window in (None, query.window))
            ),
            default=-math.inf,
        )
        return not target.is_open and file.written <= newest

    def _is_no_news(self, target: Target, file: ReturnedFile, part: Part) -> bool:
        """Whether this mask was taken, or taken back, before."""
        revoked = set(self.store.history()["revoked"])
        same = sorted(self._labels_like(target, part), key=lambda label: (label.number in revoked, -label.number))
        if not same:
            if self._is_old(target, file):
                predicted = self._predicted(target, part)
                if predicted is not None and np.array_equal(part.ids[: part.rows], predicted):
                    return True
                self.say(
                    file.path,
                    f"{file.path} is older than the mask that was taken, and is passed over; save it "
                    "anew to have it taken.",
                )
                return True
            return False
        label = same[0]
        if label.number in revoked:
            if file.written > _seconds(label.when):
                return False
            self.say(
                file.path,
                f"{file.path} is the mask that was taken back; correct it, or save it anew, to have it taken again.",
            )
            return True
        if not target.is_open or target.asked is None or label.query is not None:
            return True
        return label.when < self.rounds[target.asked.round].begun  # else the index was quicker to find an answer

    def _labels_like(self, target: Target, part: Part) -> Iterator[Label]:
        """The labels that this mask has become."""
        returned = self._facts(target).get("returned", {}).get(target.query.name, [])
        was_returned = ids_hash(part.ids) in returned
        labelled = part.ids != IGNORE
        for label in self.store.labels():
            if label.image != target.query.image:
                continue
            answered = target.asked is not None and label.query == target.asked.number
            kept_so = self.store.is_same(label, part.ids) or self.store.is_same(label, part.reading.ids)
            if kept_so or (was_returned and answered):
                yield label
            elif label.window is not None and label.window == target.query.window and labelled.any():
                kept = self.store.ids(label)[label.window.slices]
                if np.array_equal(kept[labelled], part.ids[labelled]):
                    yield label

    # checking

    def _check(self, target: Target, file: ReturnedFile, part: Part) -> Outcome:
        if why := self._may_not(target, part.record):
            cure = " `srpu active skip` leaves it out." if target.is_open else ""
            self.say(file.path, f"{file.path} is not taken: {why}{cure}")
            return "refused"
        if part.reading.trouble and not self._mend(target, file, part):
            return "refused"
        predicted = self._predicted(target, part)
        anew = predicted is not None and not np.array_equal(part.ids[: part.rows], predicted)
        if anew and self.search.was_handed_out(target, part.reading.ids):
            self.say(file.path, f"{file.path} is what an earlier round predicted; it is passed over.", logging.INFO)
            return "passed over"
        verdict = examine(
            part.ids[: part.rows],
            predicted,
            self.classes.names,
            repair=self.answers.repair,
            others=lambda: self._others(target),
        )
        picture = self._picture(target, part, verdict)
        if verdict.problem == "untouched":
            return "untouched"
        if verdict.problem is not None:
            seen = f"; {picture} shows it" if picture else ""
            self.say(file.path, f"{file.path} {verdict.reason}{seen}.")
            return "refused"
        for remark in verdict.remarks:
            self.say(file.path, f"{file.path} {remark}.")
        self._accept(target, file, part, verdict, predicted)
        return "taken"

    def _untouched(self, target: Target, file: ReturnedFile, part: Part) -> int:
        predicted = self._predicted(target, part)
        if self.answers.confirm_unchanged and predicted is not None:
            self._accept(target, file, part, Verdict(predicted), predicted)
            return 1
        self.say(
            file.path,
            f"{file.path} is the prediction as it was handed out; correct it, or let `srpu active take-in --unchanged` "
            "take it as found right.",
        )
        return 0

    def _may_not(self, target: Target, record: Record) -> str:
        """Why a mask is not taken, because models are judged on what it shows or will be; "": it is."""
        if target.asked and target.is_open:  # chosen with care, but validation may have grown since
            kept = record.group in {one.group for one in self.material.judged} and record.page is None
            free = not kept or record.split in ("val", "test") or target.asked.facts.get("for")
            return "" if free else f"{record.id} belongs to {record.group}, which is kept for judging models."
        if record.split in ("val", "test"):
            return f"models are judged on {record.id}, and its mask changes only with `srpu index --grow-truth`."
        if record.split == "train":
            return ""
        settings, workspace = self.places.settings, self.places.workspace
        return protected(self.material.labelled, [record], settings, workspace, exact=True).get(record.sha256, "")

    def _mend(self, target: Target, file: ReturnedFile, part: Part) -> bool:
        """Whether blurred colours may be read as their nearest ones; a picture shows what that gives."""
        reading, height_width = part.reading, part.reading.ids.shape
        assert reading.before is not None and reading.changed is not None  # noqa: S101  (there is trouble)
        cut = self._handed(target).cut(target.query) if target.asked else None
        whole = Window(0, 0, *height_width)
        window = next(one for one in (cut, target.query.window, whole) if one is not None and one[2:] == height_width)
        image = self.opener.image(part.record)[window.slices]
        path = self._picture_path(target, "repair")
        write_png(path, draw_repair(image, reading.before, reading.ids, reading.changed, self.classes))
        if self.answers.repair:
            self.say(file.path, f"{file.path} had blurred or compressed edges; they got the nearest colours: {path}")
            return True
        self.say(file.path, f"{reading.trouble.rstrip('.')}; `srpu active take-in --repair` takes it so: {path}")
        return False

    # what was handed out

    def _handed(self, target: Target) -> HandedOut:
        assert target.asked is not None  # noqa: S101  (for mypy)
        return self.handed[target.asked.round]

    def _facts(self, target: Target) -> dict[str, Any]:
        return self.rounds[target.asked.round].facts if target.asked else {}

    def _predicted(self, target: Target, part: Part) -> Ids | None:
        """What was predicted of what was asked for, above the data bar; None: nothing, or nobody knows."""
        if target.asked is None:
            return None
        handed, query = self._handed(target), target.query
        ids = handed.predicted(query)
        if ids is None:
            return None
        record = part.record
        bar = record.height - self.opener.rows(record)
        try:
            shape = (record.height, record.width)
            return cut_out(ids, shape, query.window, handed.cut(query), bar, handed.file(query))[: part.rows]
        except MaskError:  # the image was replaced, say
            return None

    def _others(self, target: Target) -> Iterator[tuple[str, Ids]]:
        """The other predictions of the round."""
        for one in self.asked:
            other = Target(one.query, one)
            record = self.images.get(one.query.image)
            if target.asked is None or one.round != target.asked.round or one == target.asked or record is None:
                continue
            rows = self.opener.rows(record)
            if one.query.window is not None:
                rows = min(max(rows - one.query.window.top, 0), one.query.window.height)
            empty = np.zeros((0, 0), np.uint8)
            predicted = self._predicted(other, Part(record, empty, rows, Reading(empty)))
            if predicted is not None:
                yield one.query.name, predicted

    # keeping

    def _accept(self, target: Target, file: ReturnedFile, part: Part, verdict: Verdict, predicted: Ids | None) -> None:
        query, record, asked = target.query, part.record, target.asked
        ids = part.ids.copy()
        ids[: part.rows] = verdict.ids
        model = self._handed(target).model if asked else None
        state: State = "drawn" if asked is None or self._handed(target).was_blank(query) else "edited"
        if predicted is not None and np.array_equal(verdict.ids, predicted):
            state = "confirmed"
        self.store.accept(
            record.sha256,
            ids,
            state=state,
            who=annotator(self.places),
            window=query.window,
            shape=(record.height, record.width),
            prediction=model if state != "drawn" else None,
            query=asked if target.is_open else None,
            batch=self.batch,
        )
        found = {} if predicted is None else changes(predicted, verdict.ids, self.classes.names)
        self._note(target, found, ids_hash(part.ids))
        if asked is None:
            log.info("%s was not asked for; taken from %s", query.name, file.path)
        elif not target.is_open:
            log.info("%s was not waited for any more; taken from %s", query.name, file.path)
        log.info("%s: taken as %s%s", query.name, state, told(found, verdict.ids))

    def _note(self, target: Target, found: dict[str, tuple[int, int, int]], returned: str) -> None:
        """Add to the round's facts what was changed, and what came back before anything was mended."""
        if target.asked is None:
            return
        round_, name = self.rounds[target.asked.round], target.query.name
        noted = {
            **round_.facts.get("corrections", {}),
            **({name: {of: list(n) for of, n in found.items()}} if found else {}),
        }
        hashes = round_.facts.get("returned", {})
        hashes = {**hashes, name: [*hashes.get(name, []), returned]}
        self.rounds[round_.number] = self.store.note(round_.number, round_.phase, corrections=noted, returned=hashes)

    def _picture(self, target: Target, part: Part, verdict: Verdict) -> Path | None:
        """Before and after a repair, if there is one; gives the file."""
        if verdict.repaired is None:
            return None
        window = target.query.window or Window(0, 0, part.record.height, part.record.width)
        image = self.opener.image(part.record)[window.slices][: part.rows]
        before = part.ids[: part.rows]
        path = self._picture_path(target, verdict.kind or "repair")
        write_png(path, draw_repair(image, before, verdict.repaired, before != verdict.repaired, self.classes))
        return path

    def _picture_path(self, target: Target, kind: str) -> Path:
        number = target.asked.round if target.asked else max(self.rounds, default=0)
        return self.places.results(number) / f"{target.query.name}_{kind}.png"


def _seconds(when: str) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(when).timestamp()
