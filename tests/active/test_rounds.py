"""The state machine of rounds, with work that takes no time, and a process that is killed in the middle of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srpu.active import labels
from srpu.active import store as store_module
from srpu.active.entries import AskedQuery
from srpu.active.query import Query
from srpu.active.rounds import NOTHING_LEFT, Loop, Step
from srpu.active.stopping import Stop
from srpu.active.store import Store
from srpu.errors import StoreError

BATCH, ROUNDS = 3, 4


def mask_of(query: Query) -> np.ndarray:
    """What a person answers: known from the image alone."""
    return np.full((4, 4), int(query.image) % 3, np.uint8)


class Stub:
    """Work that takes no time: models are numbers, images are numbers, and people answer at once."""

    def __init__(self, store: Store, folder: Path, tick: Callable[[], None] = lambda: None) -> None:
        self.store, self.folder, self.tick = store, folder, tick
        self.answering = True

    def begin(self) -> tuple[int, Mapping[str, Any]]:
        last = self.store.last_round()
        return 1 if last is None else last.number + 1, {"labelled": len(self.store.current())}

    def train(self, number: int) -> Mapping[str, Any]:
        self.tick()
        return {"model": f"model {number}"}

    def judge(self, number: int) -> Mapping[str, Any]:
        if not any(one.round == number for one in self.store.promotions()):
            self.store.promote(number, f"round_{number}.pth", f"model {number}")
        return {"mean_dice": number / 10}

    def stop(self, number: int) -> Stop:
        done = sum(one.phase == "closed" for one in self.store.rounds())
        return Stop(("enough",) if done >= ROUNDS else ())

    def choose(self, number: int) -> Sequence[tuple[Query, Mapping[str, Any]]]:
        known = {one.query.image for one in self.store.asked() if one.state != "returned"}
        left = [str(n) for n in range(100) if str(n) not in known]
        return [(Query(n, f"{n}.tif"), {"score": 0.5}) for n in left[:BATCH]]

    def hand_over(self, number: int, asked: Sequence[AskedQuery]) -> None:
        self.tick()

    def take_in(self) -> int:
        still = self.store.asked(state="open") if self.answering else []
        for one in still:
            label = self.store.accept(
                one.query.image, mask_of(one.query), state="edited", who="me", query=one, batch=f"round {one.round}"
            )
            self.tick()
            with (self.folder / "told.txt").open("a") as told:  # from here on, a person counts on it
                told.write(f"{one.query.image} {label.mask}\n")
        return len(still)


@contextmanager
def opened(folder: Path, tick: Callable[[], None] = lambda: None) -> Iterator[tuple[Loop, Stub]]:
    with Store.open(folder / "active_learning") as store:
        work = Stub(store, folder, tick)
        yield Loop(store, work), work


def until(loop: Loop, *ends: Step) -> list[Step]:
    steps: list[Step] = []
    while not steps or steps[-1] not in ends:
        steps.append(loop.advance())
    return steps


def test_a_round_goes_from_training_to_answers(tmp_path: Path) -> None:
    with opened(tmp_path) as (loop, _):
        assert until(loop, "closed") == ["begun", "trained", "judged", "asked", "closed"]
        assert loop.last is not None
        assert (loop.last.number, loop.last.phase) == (1, "closed")
        assert loop.last.facts == {"labelled": 0, "model": "model 1", "mean_dice": 0.1, "stop": []}
        assert loop.advance() == "begun"
        assert loop.last.number == 2


def test_a_stopped_round_stops_again_and_goes_on_when_the_rule_is_gone(tmp_path: Path) -> None:
    with opened(tmp_path) as (loop, work):
        work.stop = lambda number: Stop(("enough",))  # type: ignore[method-assign]
        assert until(loop, "stopped") == ["begun", "trained", "judged", "stopped"]
        assert loop.advance() == "stopped"
        assert loop.last is not None
        assert loop.last.facts["stop"] == ["enough"]
        work.stop = lambda number: Stop(())  # type: ignore[method-assign]
        assert loop.advance() == "asked"


def test_an_unanswered_round_waits_and_can_be_closed(tmp_path: Path) -> None:
    with opened(tmp_path) as (loop, work):
        work.answering = False
        until(loop, "asked")
        assert [loop.advance(), loop.advance()] == ["waiting", "waiting"]
        assert loop.is_waiting()
        assert [one.query.image for one in loop.close("no time")] == ["0", "1", "2"]
        assert not loop.is_waiting()
        work.answering = True
        assert until(loop, "asked") == ["begun", "trained", "judged", "asked"]
        asked = loop.store.asked(2)
        assert [one.query.image for one in asked] == ["0", "1", "2"]  # back in the pool, so asked for again


def test_an_answer_that_is_taken_back_is_waited_for_again(tmp_path: Path) -> None:
    with opened(tmp_path) as (loop, work):
        until(loop, "closed")
        loop.store.undo(who="me")
        assert loop.is_waiting()
        work.answering = False
        assert loop.advance() == "waiting"
        work.answering = True
        assert loop.advance() == "closed"
        assert len(loop.store.current()) == BATCH


def test_the_rounds_end_where_nothing_can_be_asked_for(tmp_path: Path) -> None:
    with opened(tmp_path) as (loop, work):
        reported: list[int] = []
        work.choose = lambda number: []  # type: ignore[method-assign]
        work.hand_over = lambda number, asked: reported.append(number)  # type: ignore[method-assign]
        assert until(loop, "stopped") == ["begun", "trained", "judged", "stopped"]
        assert loop.last is not None
        assert loop.last.facts["stop"] == [NOTHING_LEFT]
        assert reported == [1]  # the report of the last round is written too


def test_a_round_whose_only_model_was_taken_back_is_over_and_the_next_trains(tmp_path: Path) -> None:
    with opened(tmp_path) as (loop, _):
        until(loop, "judged")
        loop.store.undo(who="me")
        assert until(loop, "asked") == ["closed", "begun", "trained", "judged", "asked"]


def test_two_loops_on_one_store_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(StoreError, match="at work on this store already"), opened(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs fork, which Windows lacks")
def test_fifty_kills_lose_no_accepted_label_and_no_finished_round(tmp_path: Path) -> None:
    """Every write is met by kill -9 just before it, in the middle of it and just after it."""
    kills, finished = 0, 0
    for moment in range(1, 200):
        child = os.fork()
        if child == 0:
            _work_until_killed(tmp_path, moment % 12 + 1)
        end = os.waitpid(child, 0)[1]
        kills += os.WIFSIGNALED(end)
        assert os.WIFSIGNALED(end) or os.WEXITSTATUS(end) == 0
        finished = _check(tmp_path, finished)
        if finished == ROUNDS and kills >= 50:
            break
        if finished == ROUNDS:  # all is done: the kills go on in another workspace
            tmp_path, finished = tmp_path / "next", 0
            tmp_path.mkdir()
    assert kills >= 50
    with opened(tmp_path) as (loop, _):
        until(loop, "stopped")
        assert [one.phase for one in loop.store.rounds()] == ["closed"] * ROUNDS + ["judged"]
        assert sorted(loop.store.current(), key=int) == [str(n) for n in range(ROUNDS * BATCH)]
        assert [one.round for one in loop.store.promotions()] == list(range(1, ROUNDS + 2))


def _work_until_killed(folder: Path, ticks: int) -> None:
    """Do all that is left, or be killed at the tick of that number; never returns."""
    left = ticks

    def tick() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def writing(self: Store) -> Iterator[Any]:
        tick()
        with ordinary(self) as connection:
            yield connection
            tick()  # before it is committed
        tick()

    ordinary = Store._writing
    Store._writing = writing  # type: ignore[method-assign]
    write = labels.write_label

    def write_label(*arguments: Any) -> str:
        tick()
        return write(*arguments)

    store_module.write_label = write_label
    try:
        with opened(folder, tick) as (loop, _):
            until(loop, "stopped")
        os._exit(0)
    except BaseException:  # noqa: BLE001  the child may not become a second pytest
        os._exit(1)


def _check(folder: Path, finished: int) -> int:
    """What was told is there; gives how many rounds are finished, never fewer than before."""
    if not (folder / "active_learning/store.db").exists():
        return finished
    with Store.open(folder / "active_learning") as store:
        current = store.current()
        told = folder / "told.txt"
        for line in told.read_text().splitlines() if told.exists() else ():
            image, mask = line.split()
            assert current[image].mask == mask
            assert (store.ids(current[image]) == mask_of(Query(image, ""))).all()
        for round_ in store.rounds():
            assert len(store.asked(round_.number)) in (0, BATCH)
        done = [one.number for one in store.rounds() if one.phase == "closed"]
        assert len(done) >= finished
        assert all(len(store.asked(number, "answered")) == BATCH for number in done)
        return len(done)
