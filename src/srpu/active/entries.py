"""What the store's rows mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from srpu.active.query import Query, Window

State = Literal["drawn", "edited", "confirmed", "not reviewed"]
"""By hand; a corrected prediction; a prediction that somebody found right; a prediction that nobody has looked at."""

Phase = Literal["begun", "trained", "judged", "waiting", "closed"]

PHASES: tuple[Phase, ...] = ("begun", "trained", "judged", "waiting", "closed")


@dataclass(frozen=True)
class StoredImage:
    """An image: the hash of its pixels, and what the index calls it, its data set and its specimen."""

    sha256: str
    id: str
    dataset: str
    group: str


@dataclass(frozen=True)
class Label:
    """An accepted mask of a whole image; pixels that nobody labelled are 255.

    Attributes:
        number: Grows with each label.
        image: Hash of the image's pixels.
        mask: Hash of the class ids, after which the kept file is called.
        state: How it came about.
        who: Who made it.
        when: UTC, ISO 8601.
        window: The part that came with this label; None: all of it.
        prediction: Hash of the model whose prediction it began as.
        round: That asked for it.
        query: The same, its number.
    """

    number: int
    image: str
    mask: str
    state: State
    who: str
    when: str
    window: Window | None = None
    prediction: str | None = None
    round: int | None = None
    query: int | None = None

    @property
    def reviewed(self) -> bool:
        """Whether somebody has looked at it: only then it is trained on."""
        return self.state != "not reviewed"


@dataclass(frozen=True)
class AskedQuery:
    """A query of a round: "open", "answered", "skipped", or "returned" to the pool."""

    number: int
    round: int
    query: Query
    facts: dict[str, Any]
    state: str = "open"


@dataclass(frozen=True)
class Round:
    """A round: how far it has come, and what is known of it."""

    number: int
    phase: Phase
    facts: dict[str, Any] = field(default_factory=dict)
    begun: str = ""


@dataclass(frozen=True)
class Promotion:
    """The current model: the round that trained it, its file as the workspace calls it, and its hash."""

    round: int
    path: str
    model: str
    facts: dict[str, Any]
