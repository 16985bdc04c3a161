"""Rounds of active learning: `srpu active`.

Whoever drives them (a person, a cron job, a queue, a page) calls the same steps; where they stand is in the store
alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from srpu.active.rounds import Loop, Step
from srpu.active.store import Store
from srpu.errors import SettingsError, StoreBusyError, StoreError
from srpu.files import locked
from srpu.settings import ActiveLearningSettings
from srpu.tasks.active_history import masks, say_round, say_status, write_history
from srpu.tasks.active_intake import Answers
from srpu.tasks.active_material import annotator
from srpu.tasks.active_places import Places
from srpu.tasks.active_steps import Steps
from srpu.tasks.answer_line import AnswerLine
from srpu.tasks.wiring import class_map
from srpu.workspace import Workspace

log = logging.getLogger(__name__)


def run(
    settings: ActiveLearningSettings,
    workspace: Workspace,
    *,
    wait: bool = True,
    force: bool = False,
    answers: Answers | None = None,
) -> Step:
    """Go from step to step until masks are waited for, or the rounds end; gives the last step.

    Args:
        settings: As checked.
        workspace: Where everything lies.
        wait: Wait for corrected masks and go on; else the next call does.
        force: Promote models although they are worse.
        answers: How returned masks are treated.

    Raises:
        WorkspaceError: Another `srpu active run` is at work here.
    """
    places, answers = Places(settings, workspace), answers or Answers()
    with locked(places.store / ".run.lock", "`srpu active run`"), AnswerLine() as line:
        told = False
        step: Step = "begun"
        while True:
            try:
                with _loop(places, answers, force=force) as loop:
                    step = loop.advance()
                    _say(step, loop, places)
                    if step == "waiting" and not told:
                        log.info("%s", _what_to_do(places, loop))
            except StoreBusyError:  # somebody types `srpu active skip`, say, while this waits
                if not told:
                    raise
            if step == "stopped" or (step == "waiting" and not wait):
                return step
            if step == "waiting":
                if not told:
                    log.info("Waiting for them%s; Ctrl-C stops, the same command goes on.", line.hint)
                line.wait(settings.POLL_SECONDS)
            told = step == "waiting"


def train(settings: ActiveLearningSettings, workspace: Workspace, *, force: bool = False) -> Step:
    """Begin a round if the last is over, train its model and judge it.

    Raises:
        StoreError: The last round waits for masks, or is judged already.
    """
    places = Places(settings, workspace)
    with _loop(places, Answers(), force=force) as loop:
        if loop.is_waiting():
            raise StoreError(_what_to_do(places, loop))
        last = loop.last
        if last is not None and last.phase == "judged" and loop.store.current_model() is not None:
            raise StoreError(f"Round {last.number} is trained and judged already; `srpu active propose` goes on.")
    return _until(places, {"judged", "asked"}, force=force)


def propose(settings: ActiveLearningSettings, workspace: Workspace) -> Step:
    """Choose what to label next, and write it to the round's folder.

    Raises:
        StoreError: There is no trained model to ask with, or the last round still waits.
    """
    places = Places(settings, workspace)
    with _loop(places, Answers()) as loop:
        last = loop.last
        if loop.is_waiting():
            raise StoreError(_what_to_do(places, loop))
        if last is not None and last.phase == "closed":
            raise StoreError(f"Round {last.number} is over; `srpu active train` begins the next one.")
        if not settings.COLD_START and (last is None or last.phase != "judged"):
            raise StoreError(
                "There is no newly trained model to ask with; `srpu active train` first, or set COLD_START = True to "
                "be asked without a model."
            )
    return _until(places, {"asked", "stopped", "closed"})


def take_in(settings: ActiveLearningSettings, workspace: Workspace, answers: Answers) -> Step:
    """Take in the masks that have come back."""
    places = Places(settings, workspace)
    with _loop(places, answers) as loop:
        Steps(places, loop.store, answers).hand_over_again()
        step = loop.take_in()
        still = len(loop.store.asked(state="open"))
    log.info("%s", f"Still waited for: {masks(still)}." if still else "No mask is waited for any more.")
    return step


def skip(settings: ActiveLearningSettings, workspace: Workspace, name: str, why: str) -> None:
    """Leave out an image that was asked for, for good.

    Raises:
        StoreError: No such image is waited for.
    """
    places = Places(settings, workspace)
    with places.open_store() as store:
        still = store.asked(state="open")
        found = [one for one in still if name in (one.query.name, one.query.id)]
        if not found:
            names = ", ".join(one.query.name for one in still[:5]) or "none"
            raise StoreError(f"No mask called {name} is waited for; those that are: {names}.")
        store.skip(found[0], why)
        write_history(places, store)
    log.info("%s is left out (%s); it will not be asked for again.", found[0].query.name, why)


def close(settings: ActiveLearningSettings, workspace: Workspace) -> None:
    """End a round of which not all has come back; the rest goes back to the pool."""
    places = Places(settings, workspace)
    with _loop(places, Answers()) as loop:
        left = loop.close("closed")
        write_history(places, loop.store)
    log.info("%d images go back to the pool; `srpu active run` goes on.", len(left))


def undo(settings: ActiveLearningSettings, workspace: Workspace) -> None:
    """Take back the last take-in or promotion; nothing is deleted.

    Raises:
        StoreError: There is nothing to take back.
    """
    places = Places(settings, workspace)
    with places.open_store() as store:
        log.info("%s", store.undo(who=annotator(places)))
        Steps(places, store, Answers()).settle()


def status(settings: ActiveLearningSettings, workspace: Workspace) -> None:
    """Tell where the rounds stand; also while they run.

    Raises:
        StoreError: There is no active learning here yet.
    """
    places = Places(settings, workspace)
    with places.open_store(read_only=True) as store:
        say_status(places, store)


@contextmanager
def _loop(places: Places, answers: Answers, *, force: bool = False) -> Iterator[Loop]:
    """The loop, with the store held for one step."""
    with places.open_store() as store:
        _refuse_other_classes(store, places)
        yield Loop(store, Steps(places, store, answers, force))


def _refuse_other_classes(store: Store, places: Places) -> None:
    """Stop before masks or models are read under other names than those that rounds began with."""
    names = list(class_map(places.settings).names)
    known = [one.facts["classes"] for one in store.rounds() if "classes" in one.facts]
    if known and (len(known[-1]) != len(names) or (sorted(known[-1]) == sorted(names) and known[-1] != names)):
        raise SettingsError(
            f"CLASS_NAMES are {', '.join(names)}, and rounds began with {', '.join(known[-1])}: put them back in that "
            "order, or begin anew in another workspace."
        )


def _until(places: Places, ends: set[Step], *, force: bool = False) -> Step:
    while True:
        with _loop(places, Answers(), force=force) as loop:
            step = loop.advance()
            _say(step, loop, places)
        if step in ends:
            return step


def _say(step: Step, loop: Loop, places: Places) -> None:
    """What a step means for people."""
    last = loop.last
    assert last is not None  # noqa: S101  (a step has just been done)
    if step == "begun" and last.number:
        log.info("Round %d begins with %d labelled training images.", last.number, last.facts["labelled"])
    elif step == "asked":
        say_round(loop.store, last.number)
    elif step == "stopped":
        say_round(loop.store, last.number)
        log.info("The rounds end here. Report: %s", places.results(last.number) / "report.html")
    elif step == "closed":
        log.info("Round %d is over.", last.number)


def _what_to_do(places: Places, loop: Loop) -> str:
    """What a waiting round needs; its folder is written again if it was deleted."""
    Steps(places, loop.store, Answers()).hand_over_again()
    still = loop.store.asked(state="open")
    return (
        f"Round {still[-1].round} waits for {masks(len(still))}: correct those in {places.handed(still[-1].round)} and "
        "type `srpu active take-in`, or `srpu active close` to go on without them."
    )
