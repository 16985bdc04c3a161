"""The rounds of active learning as a state machine that a person, a cron job or a page can drive.

    begun ─train→ trained ─judge→ judged ─ask→ waiting ─take in→ closed ─begin→ (the next round) begun
                                     └ stays here while a stop rule holds, or while there is nothing to ask for

Where a round stands is in the store alone, and each step can be done again: a process that is killed anywhere goes on
with the same call. Round 0 is the cold start: it asks without a model, before the first training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from srpu.active.entries import AskedQuery, Round
from srpu.active.query import Query
from srpu.active.stopping import Stop
from srpu.active.store import Store

Facts = Mapping[str, Any]

NOTHING_LEFT = "Nothing in the pool can be asked for: what is left is labelled for the greater part, or left out."

Step = Literal["begun", "trained", "judged", "stopped", "asked", "waiting", "closed"]
"""What :meth:`Loop.advance` did or found; after "stopped" and "waiting" it takes somebody else to go on."""


class Work(Protocol):
    """What a step does; each may be called again for the same round after a crash."""

    def begin(self) -> tuple[int, Facts]:
        """The number of the next round, and what is known of it."""

    def train(self, number: int) -> Facts:
        """Train the round's model."""

    def judge(self, number: int) -> Facts:
        """Judge the model, and promote it or keep the one before, in the store."""

    def stop(self, number: int) -> Stop:
        """Whether the rounds end here."""

    def choose(self, number: int) -> Sequence[tuple[Query, Facts]]:
        """What to ask for, the most wanted first."""

    def hand_over(self, number: int, asked: Sequence[AskedQuery]) -> None:
        """Write what people need to answer, if anything is asked for, and the report."""

    def take_in(self) -> int:
        """Take in what has come back; gives how many masks."""


class Loop:
    """Goes from step to step."""

    def __init__(self, store: Store, work: Work) -> None:
        self.store, self.work = store, work

    @property
    def last(self) -> Round | None:
        """The newest round, which is waiting again where an answer was taken back."""
        return self.store.last_round()

    def is_waiting(self) -> bool:
        """Whether the newest round waits for masks."""
        last = self.last
        return last is not None and last.phase in ("waiting", "closed") and bool(self._open(last))

    def advance(self) -> Step:
        """Do the next step."""
        last = self.last
        if last is None or (last.phase == "closed" and not self._open(last)):
            number, facts = self.work.begin()
            self.store.begin_round(number, **facts)
            return "begun"
        if last.phase == "begun" and last.number > 0:
            self.store.note(last.number, "trained", **self.work.train(last.number))
            return "trained"
        if last.phase == "trained":
            self.store.note(last.number, "judged", **self.work.judge(last.number))
            return "judged"
        if last.phase in ("begun", "judged"):
            return self._close_without_model(last) or self._ask(last)
        return self._wait(last)

    def take_in(self) -> Step:
        """Take in what has come back, whether or not all of it is there."""
        self.work.take_in()
        last = self.last
        if last is None or last.phase not in ("waiting", "closed") or self._open(last):
            return "waiting"
        self.store.note(last.number, "closed")
        return "closed"

    def close(self, why: str) -> list[AskedQuery]:
        """Give what has not come back to the pool, and end the round; gives what was given back."""
        left = self.store.asked(state="open")
        self.store.give_back(left, why)
        last = self.last
        if last is not None and last.phase == "waiting":
            self.store.note(last.number, "closed")
        return left

    def _ask(self, last: Round) -> Step:
        number = last.number
        asked = self.store.asked(number)  # a process may have been killed after asking
        if not asked:
            if number > 0 and (stop := self.work.stop(number)).reasons:
                return self._stop(last, stop.reasons)
            asked = self.store.ask(number, self.work.choose(number))
            if number > 0 and not asked:
                return self._stop(last, [NOTHING_LEFT])
        self.work.hand_over(number, asked)
        self.store.note(number, "waiting" if asked else "closed", stop=[])
        return "asked" if asked else "closed"

    def _stop(self, last: Round, reasons: Sequence[str]) -> Step:
        self.store.note(last.number, last.phase, stop=list(reasons))
        self.work.hand_over(last.number, [])
        return "stopped"

    def _close_without_model(self, last: Round) -> Step | None:
        """End a round whose model was taken back while there is no other one to ask with."""
        if last.number == 0 or self.store.current_model() is not None or self.store.asked(last.number):
            return None
        self.store.note(last.number, "closed")
        return "closed"

    def _wait(self, last: Round) -> Step:
        if self._open(last):
            return self.take_in()
        self.store.note(last.number, "closed")
        return "closed"

    def _open(self, last: Round) -> list[AskedQuery]:
        return self.store.asked(last.number, "open")
