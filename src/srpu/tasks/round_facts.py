"""What the report of a round of active learning is made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from srpu.active.stopping import Stop
from srpu.data.classes import ClassMap
from srpu.tasks.gate import Decision
from srpu.tasks.truth import Judged

STATES = {
    "drawn": "by hand",
    "edited": "a corrected prediction",
    "confirmed": "a prediction found right",
    "not reviewed": "a prediction nobody looked at; not trained on",
}
"""How a label came about, and what that means."""


class Standing(NamedTuple):
    """How a round ended: labelled training images, mean Dice over groups with its interval, and what became of it."""

    round: int
    labels: int
    score: float
    low: float
    high: float
    verdict: str
    promoted: bool


class LabelledAs(NamedTuple):
    """The split of a labelled image ("train", "val", "test"), and how its label came about (of :data:`STATES`)."""

    split: str
    state: str


class Change(NamedTuple):
    """Pixels of a class in corrected masks: all, those changed along outlines, and those changed as whole blobs."""

    pixels: int
    boundary: int
    blob: int


@dataclass(frozen=True)
class Asked:
    """A query as people see it.

    Attributes:
        name: Of its files.
        reason: Why it is asked for, in words.
        score: By which it was chosen; NaN: drawn by chance.
        scores: Of each strategy, by name.
        image: The picture to label: the file.
        page: Its page in that file.
        mask: The predicted mask in colours.
        uncertainty: Where the model is unsure, 8 bits.
    """

    name: str
    reason: str
    score: float = math.nan
    scores: Mapping[str, float] = field(default_factory=dict)
    image: Path | None = None
    page: int | None = None
    mask: Path | None = None
    uncertainty: Path | None = None


@dataclass(frozen=True)
class RoundFacts:
    """All that the report tells.

    Attributes:
        number: Of the round.
        classes: Their names and colours.
        judged: What the new model reaches.
        best: What the best promoted model before it reaches, on the same truth; None: it is the first.
        decision: What the gate said.
        history: Of every round so far, this one last.
        asked: What is asked for, the most wanted first.
        pool: Images, or windows, that could still be asked for afterwards.
        labels: Of each labelled image, by hash.
        corrections: How much of the predictions was corrected since the last round, by class; empty: nothing is known.
        stop: What the stop rules say; None: they were not asked.
        target: TARGET_SCORE.
        facts: Names and values for the head of the page.
        worst_cases: How many of the worst validation images are shown.
    """

    number: int
    classes: ClassMap
    judged: Judged
    best: Judged | None
    decision: Decision
    history: Sequence[Standing]
    asked: Sequence[Asked] = ()
    pool: int = 0
    labels: Mapping[str, LabelledAs] = field(default_factory=dict)
    corrections: Mapping[str, Change] = field(default_factory=dict)
    stop: Stop | None = None
    target: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    worst_cases: int = 6
