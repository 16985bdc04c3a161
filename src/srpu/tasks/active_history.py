"""What has happened so far: for files, for the terminal and for the report."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from srpu.active.entries import Round
from srpu.active.store import Store
from srpu.files import write_json
from srpu.tasks.active_labeled import VALIDATION
from srpu.tasks.active_places import Places
from srpu.tasks.round_facts import Standing

log = logging.getLogger(__name__)


def standings(store: Store) -> list[Standing]:
    """How each judged round ended."""
    return [_standing(one, store) for one in store.rounds() if "decision" in one.facts]


def _standing(round_: Round, store: Store) -> Standing:
    facts = round_.facts
    score, low, high = (math.nan if value is None else value for value in facts["over_groups"])
    decision = facts["decision"]
    promoted = any(one.round == round_.number for one in store.promotions())
    return Standing(round_.number, facts["training_images"], score, low, high, decision["verdict"], promoted)


def write_history(places: Places, store: Store) -> None:
    """Write ``json/active_learning_history.json`` and, beside the models, the training history and the statistics."""
    write_json(places.history, store.history())
    rounds = [_plain_round(one, store) for one in store.rounds()]
    write_json(places.models / "training_history.json", {"rounds": rounds})
    write_json(places.models / "final_statistics.json", statistics(store))


def _plain_round(round_: Round, store: Store) -> dict[str, Any]:
    states = Counter(one.state for one in store.asked(round_.number))
    return {"round": round_.number, "phase": round_.phase, "begun": round_.begun, **round_.facts, "queries": states}


def statistics(store: Store) -> dict[str, Any]:
    """Where active learning stands, in numbers."""
    current, labels = store.current_model(), store.current().values()
    last = store.last_round()
    best = next((one for one in standings(store) if current and one.round == current.round), None)
    return {
        "rounds": sum(one.phase == "closed" and one.number > 0 for one in store.rounds()),
        "labels": dict(Counter(label.state for label in labels)),
        "asked": dict(Counter(one.state for one in store.asked())),
        "current_model": None if current is None else {"round": current.round, "path": current.path},
        "mean_dice_over_groups": None if best is None or math.isnan(best.score) else best.score,
        "stop": list(last.facts.get("stop", ())) if last else [],
    }


def say_round(store: Store, number: int) -> None:
    """Tell what a round has come to."""
    round_ = next(one for one in store.rounds() if one.number == number)
    asked, history = store.asked(number), standings(store)
    facts = round_.facts
    left = f", {facts['pool']} left in the pool" if "pool" in facts else ""
    log.info("Round %d: %d labelled, %d asked for%s.", number, _labelled(store), len(asked), left)
    if facts.get("training_loss") is not None:
        log.info("Training loss %.4f; validation Dice %s.", facts["training_loss"], _number(facts.get("mean_dice")))
    scores = [one.facts["score"] for one in asked if one.facts.get("score") is not None]
    if scores:
        log.info("Mixed scores of what is asked for: %.3f to %.3f.", min(scores), max(scores))
    judging = [one.query.name for one in asked if one.facts.get("for") == VALIDATION]
    if judging:
        log.info("To judge on, so label these with special care: %s.", ", ".join(judging))
    for line in table(history):
        log.info("%s", line)


def _labelled(store: Store) -> int:
    return sum(label.reviewed for label in store.current().values())


def table(history: Sequence[Standing]) -> list[str]:
    """The rounds so far, a line each."""
    if not history:
        return []
    lines = ["round  labels  mean Dice  95 % interval     gain    model"]
    before: float | None = None
    for one in history:
        interval = "n/a" if math.isnan(one.low) else f"{one.low:.4f}, {one.high:.4f}"
        gain = "" if before is None or math.isnan(one.score) else f"{one.score - before:+.4f}"
        became = "taken" if one.promoted else "not taken"
        lines.append(
            f"{one.round:5d}  {one.labels:6d}  {_number(one.score):>9}  {interval:<16}  {gain:>7}  {became}"
            f" ({one.verdict})"
        )
        before = one.score if one.promoted and not math.isnan(one.score) else before
    return lines


def say_status(places: Places, store: Store) -> None:
    """Tell where the rounds stand, and what to do next."""
    last = store.last_round()
    if last is None:
        log.info("No round has begun; `srpu active run` begins the first.")
        return
    for line in table(standings(store)):
        log.info("%s", line)
    current = store.current_model()
    log.info("Current model: %s", f"round {current.round}, {current.path}" if current else "none yet")
    counts = Counter(label.state for label in store.current().values())
    log.info("Labels: %s", ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none")
    still = store.asked(state="open")
    log.info("Round %d is %s. %s", last.number, last.phase, _next(places, last, len(still)))
    for one in still:
        purpose = ", to judge on" if one.facts.get("for") == VALIDATION else ""
        log.info("  waits: %s (round %d%s)", one.query.name, one.round, purpose)


def _next(places: Places, last: Round, still: int) -> str:
    if still and last.phase in ("waiting", "closed"):
        return (
            f"It waits for {masks(still)}: correct those in {places.handed(last.number)} and type "
            "`srpu active take-in`, or `srpu active close` to go on without them."
        )
    if last.facts.get("stop"):
        return "The rounds have ended: " + " ".join(last.facts["stop"])
    following = {"begun": "train", "trained": "train", "judged": "propose"}.get(last.phase, "run")
    return f"Next: `srpu active {following}`."


def masks(count: int) -> str:
    """So many, in words.

    >>> masks(1), masks(3)
    ('1 mask', '3 masks')
    """
    return f"{count} mask{'s' * (count != 1)}"


def _number(value: float | None) -> str:
    return "n/a" if value is None or math.isnan(value) else f"{value:.4f}"
