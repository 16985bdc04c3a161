"""What each step of a round does with real images and models."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srpu.active import schema
from srpu.active.entries import AskedQuery, Promotion
from srpu.active.query import Query
from srpu.active.stopping import Gain, Stop, StopRules, current_before, reasons_to_stop
from srpu.active.store import FILE, Store
from srpu.errors import IndexingError
from srpu.tasks.active_choice import choose, choose_first, pool_size
from srpu.tasks.active_handover import hand_over
from srpu.tasks.active_history import write_history
from srpu.tasks.active_intake import Answers, take_in
from srpu.tasks.active_labeled import publish
from srpu.tasks.active_material import Material, read_material, renew, training_records, write_round_manifests
from srpu.tasks.active_places import Places, copy, set_aside
from srpu.tasks.active_round_report import report_round
from srpu.tasks.active_training import train_round
from srpu.tasks.truth import Judged, compare_judged, gain, judge, model_hash
from srpu.tasks.wiring import class_map

log = logging.getLogger(__name__)

COLD = 0
"""The round that asks without a model."""


@dataclass(frozen=True)
class Steps:
    """The steps, for one store; see :class:`srpu.active.rounds.Work`.

    Attributes:
        places: Settings and folders.
        store: Open for writing.
        answers: How returned masks are treated.
        force: Promote a model although it is worse.
    """

    places: Places
    store: Store
    answers: Answers
    force: bool = False

    def begin(self) -> tuple[int, Mapping[str, Any]]:
        """Index anew, and fix what the next round trains on.

        Raises:
            IndexingError: There is nothing to train on.
        """
        settings = self.places.settings
        last = self.store.last_round()
        material = renew(self.places, self.store) if last is None else self.settle()
        training = training_records(self.places, self.store, material)
        wanted = settings.INITIAL_LABELED_SIZE
        facts = {"labelled": len(training), "classes": list(class_map(settings).names)}
        if last is None and settings.COLD_START and len(training) < wanted:
            log.info(
                "Cold start: %d labelled training images, INITIAL_LABELED_SIZE = %d; the missing ones are asked for.",
                len(training),
                wanted,
            )
            self._make_room(COLD)
            return COLD, facts
        if not training:
            cold = (
                "set COLD_START = True and be told which images to label first"
                if last is None
                else f"correct masks in {self.places.handed(last.number)} and type `srpu active take-in`"
            )
            raise IndexingError(
                f"There is no labelled training image: put masks into {self.places.labeled} and type the command "
                f"again, or {cold}."
            )
        if (last is None or last.number == COLD) and len(training) < wanted:
            log.warning(
                "%d labelled training images are there, and INITIAL_LABELED_SIZE = %d: the first model may be weak. "
                "It goes on; COLD_START = True would ask for the missing ones first.",
                len(training),
                wanted,
            )
        number = 1 if last is None else last.number + 1
        self._make_room(number)
        write_round_manifests(self.places, number, training, material)
        return number, facts

    def _make_room(self, number: int) -> None:
        """Keep a copy of the store, and move aside what an earlier store handed out under this number."""
        schema.keep_copy(self.places.store / FILE, self.places.backups)
        if self.places.handed(number).exists():
            set_aside(self.places.handed(number))

    def train(self, number: int) -> Mapping[str, Any]:
        """Train the round's model."""
        facts = train_round(self.places, self.store, number)
        write_history(self.places, self.store)
        return facts

    def judge(self, number: int) -> Mapping[str, Any]:
        """Judge the round's model on the frozen validation images; it is promoted unless it is worse."""
        round_ = next(one for one in self.store.rounds() if one.number == number)
        path = self.places.workspace.path(round_.facts["path"])
        material = read_material(self.places)
        current = self._best_before(number)
        new = self._judged(path, material, number)
        old = None if current is None else self._judged(self.places.workspace.path(current.path), material, number)
        decision = compare_judged(new, old, max_class_loss=self.places.settings.MAX_CLASS_LOSS, forced=self.force)
        log.info("%s", decision.reason)
        for remark in decision.remarks:
            log.warning("%s", remark)
        done = any(one.round == number for one in self.store.promotions())
        if decision.promoted and not done:  # a process may have been killed just after promoting
            self.store.promote(number, round_.facts["path"], round_.facts["model"], **decision.plain())
        elif not decision.promoted:
            self.store.keep(number, **decision.plain())
        self.restore_best()
        low, high = new.spread()[1:]
        return {
            "decision": decision.plain(),
            "mean_dice": _plain(new.mean_dice),
            "over_groups": [_plain(new.spread()[0]), _plain(low), _plain(high)],
            "truth": new.truth,
        }

    def restore_best(self) -> None:
        """Let ``best_model.pth`` be the promoted model, whatever was promoted or taken back."""
        current, best = self.store.current_model(), self.places.best_model
        if current is None:
            best.unlink(missing_ok=True)
        elif not best.exists() or model_hash(best) != current.model:
            copy(self.places.workspace.path(current.path), best)
            log.info("The current model is that of round %d: %s", current.round, best)

    def stop(self, number: int) -> Stop:
        """Whether the rounds end here."""
        settings = self.places.settings
        rules = StopRules(
            settings.MAX_ACTIVE_LEARNING_ROUNDS,
            settings.LABEL_BUDGET,
            settings.TARGET_SCORE,
            settings.PATIENCE,
            settings.MIN_IMPROVEMENT_THRESHOLD,
        )
        material = read_material(self.places)
        current = self.store.current_model()
        now = self._judged(self.places.workspace.path(current.path), material, number) if current else None
        stop = reasons_to_stop(
            rules,
            rounds=sum(one.number > COLD and one.phase == "closed" for one in self.store.rounds()),
            pool=pool_size(self.places, self.store, material),
            answers=len(self.store.asked(state="answered")),
            score=now.mean_dice if now else None,
            gain=self._gain(now, material, number),
        )
        for reason in stop.reasons:
            log.info("%s", reason)
        return stop

    def choose(self, number: int) -> Sequence[tuple[Query, Mapping[str, Any]]]:
        """What to ask for."""
        material = read_material(self.places)
        if number == COLD:
            return choose_first(self.places, self.store, material)
        return choose(self.places, self.store, material, number)

    def hand_over(self, number: int, asked: Sequence[AskedQuery]) -> None:
        """Write pictures, masks and the report."""
        material = read_material(self.places)
        if asked:
            hand_over(self.places, self.store, material, number, asked)
        self.report(number)

    def hand_over_again(self) -> None:
        """Write the folders of rounds that wait, where they were deleted."""
        waiting: dict[int, list[AskedQuery]] = {}
        for one in self.store.asked(state="open"):
            waiting.setdefault(one.round, []).append(one)
        for number, asked in waiting.items():
            if not self.places.handed(number).exists() and self._was_handed_over(number):
                log.warning("%s is gone; it is written again.", self.places.handed(number))
                hand_over(self.places, self.store, read_material(self.places), number, asked)

    def _was_handed_over(self, number: int) -> bool:
        return any(one.number == number and one.phase in ("waiting", "closed") for one in self.store.rounds())

    def report(self, number: int) -> None:
        """Write the report of a round, and the history."""
        if number > COLD:
            material = read_material(self.places)
            report_round(self.places, self.store, material, number, self._judged)
        write_history(self.places, self.store)

    def take_in(self) -> int:
        """Take in what has come back."""
        taken = take_in(self.places, self.store, self.answers)
        if taken:
            self.settle()
            schema.keep_copy(self.places.store / FILE, self.places.backups)
        return taken

    def settle(self) -> Material:
        """Let models, folders and the index be as the store says, also if a process was killed in between."""
        self.restore_best()
        try:
            images = read_material(self.places).images
        except IndexingError:  # it was deleted, and is made anew
            images = {}
        publish(self.places, self.store, images)
        material = renew(self.places, self.store)
        write_history(self.places, self.store)
        return material

    def _best_before(self, number: int) -> Promotion | None:
        """The model that a round's model is compared with."""
        before = [one for one in self.store.promotions() if one.round != number]
        return before[-1] if before else None

    def _judged(self, model: Path, material: Material, number: int) -> Judged:
        results = self.places.results(number)
        own = model == self.places.round_model(number, "best")
        return judge(
            model,
            material.validation,
            self.places.settings,
            self.places.workspace,
            memory=self.places.judged,
            panels=results if own else results / "other_models",
        )

    def _gain(self, now: Judged | None, material: Material, number: int) -> Gain | None:
        """What the last PATIENCE rounds have brought."""
        promotions = self.store.promotions()
        judged = sum(one.phase in ("judged", "waiting", "closed") and one.number > COLD for one in self.store.rounds())
        then = current_before([one.round for one in promotions], judged, self.places.settings.PATIENCE)
        if then is None or now is None or not now.images:
            return None
        path = next(one.path for one in promotions if one.round == then)
        found = gain(now, self._judged(self.places.workspace.path(path), material, number))
        return Gain(found.difference, found.low, found.high, found.groups)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
