"""From the store to the report of a round."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from srpu.active.entries import AskedQuery, Round
from srpu.active.stopping import Stop
from srpu.active.store import Store
from srpu.settings import weights
from srpu.tasks.active_history import standings
from srpu.tasks.active_material import Material
from srpu.tasks.active_places import Places
from srpu.tasks.gate import Decision
from srpu.tasks.round_facts import Asked, Change, LabelledAs, RoundFacts
from srpu.tasks.round_report import write_round
from srpu.tasks.truth import Judged
from srpu.tasks.wiring import class_map

Judge = Callable[[Path, Material, int], Judged]


def report_round(places: Places, store: Store, material: Material, number: int, judged: Judge) -> Path | None:
    """Write ``report.html`` of a round that was judged; None: it was not yet."""
    round_ = next(one for one in store.rounds() if one.number == number)
    if "decision" not in round_.facts:
        return None
    facts = round_.facts
    earlier = [one for one in store.promotions() if one.round < number]
    best = judged(places.workspace.path(earlier[-1].path), material, number) if earlier else None
    new = judged(places.workspace.path(facts["path"]), material, number)
    told = RoundFacts(
        number=number,
        classes=class_map(places.settings),
        judged=new,
        best=best if best is not None and best.truth == new.truth else None,
        decision=Decision.from_plain(facts["decision"]),
        history=[one for one in standings(store) if one.round <= number],
        asked=[_asked(places, number, one) for one in store.asked(number)],
        pool=facts.get("pool", 0),
        labels=_labels(store, material),
        corrections=_corrections(store, number),
        stop=Stop(tuple(facts.get("stop", ()))),
        target=places.settings.TARGET_SCORE,
        facts=_head(places, round_),
    )
    return write_round(places.results(number) / "report.html", told, places.workspace)


def _asked(places: Places, number: int, asked: AskedQuery) -> Asked:
    name, facts = asked.query.name, asked.facts
    score = facts.get("score")
    return Asked(
        name,
        facts.get("reason", ""),
        math.nan if score is None else score,
        facts.get("scores", {}),
        image=places.handed(number) / f"{name}.tif",
        mask=places.handed(number) / f"{name}_predicted_mask.png",
        uncertainty=places.results(number) / f"{name}_uncertainty.png",
    )


def _labels(store: Store, material: Material) -> Mapping[str, LabelledAs]:
    splits = {record.sha256: record.split for record in material.labelled}
    return {
        sha256: LabelledAs(splits.get(sha256) or "train", label.state)
        for sha256, label in store.current().items()
        if splits.get(sha256, "train") is not None
    }


def _corrections(store: Store, number: int) -> dict[str, Change]:
    """What people changed in the masks that the rounds before had asked for."""
    total: dict[str, Change] = {}
    for round_ in store.rounds():
        corrected: Mapping[str, Any] = round_.facts.get("corrections", {}) if round_.number < number else {}
        for changes in corrected.values():
            for of, change in changes.items():
                total[of] = Change(*map(sum, zip(total.get(of, Change(0, 0, 0)), change, strict=True)))
    return total


def _head(places: Places, round_: Round) -> dict[str, str]:
    facts = round_.facts
    minutes = facts.get("minutes")
    return {
        "model": str(facts.get("path", "")),
        "network": f"{places.settings.ENCODER_NAME} + {places.settings.DECODER_NAME}",
        "training": f"{facts.get('training_images', 0)} images, {facts.get('epochs', '?')} epochs"
        + (f", {minutes:.1f} minutes" if minutes is not None else ""),
        "asked by": ", ".join(
            weights({**places.settings.UNCERTAINTY_STRATEGIES, **places.settings.DIVERSITY_STRATEGIES})
        ),
    }
