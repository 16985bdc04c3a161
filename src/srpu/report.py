"""One self-contained HTML page: readable in a browser, on paper and without internet.

A report is a title, some facts and sections of blocks. It knows nothing of what it reports on: evaluation, training and
the demonstration all write theirs with it. Pictures are put into the file itself.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from srpu import __version__
from srpu.files import write_text
from srpu.pictures import jpeg_bytes, png_bytes


@dataclass(frozen=True)
class Text:
    """Paragraphs; boxed ones stand out as a note, a warning in amber."""

    paragraphs: Sequence[str]
    kind: str = "plain"
    """"plain", "note" or "warning"."""


@dataclass(frozen=True)
class Card:
    """One number that matters, what it is, and a remark."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Cards:
    """A row of numbers."""

    cards: Sequence[Card]


@dataclass(frozen=True)
class Cell:
    """What stands in a table: a text, a remark and a bar (0 to 1) below it, a colour before it, a link behind it."""

    text: str
    note: str = ""
    colour: tuple[int, int, int] | None = None
    link: str = ""
    bar: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows below named columns; the first column reads as text, the others as numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture and its caption.

    Attributes:
        image: Its pixels.
        caption: What it shows.
        link: Leads to a larger one beside the report.
        chart: Lines and letters go in as PNG, at half their size, to be sharp on paper too; photographs as JPEG.
    """

    image: UInt8[np.ndarray, "h w 3"]
    caption: str = ""
    link: str = ""
    chart: bool = False

    @property
    def width(self) -> int:
        """Pixels across on the page."""
        across = len(self.image[0])
        return across // 2 if self.chart else across

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        kind, encode = ("png", png_bytes) if self.chart else ("jpeg", jpeg_bytes)
        return f"data:image/{kind};base64,{base64.b64encode(encode(self.image)).decode('ascii')}"


@dataclass(frozen=True)
class Legend:
    """What each colour means."""

    entries: Mapping[str, tuple[int, int, int]]


Block = Text | Cards | Table | Picture | Legend


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; a folded one opens on a click."""

    title: str
    blocks: Sequence[Block]
    folded: bool = False


def write_report(
    path: Path, title: str, sections: Sequence[Section], *, subtitle: str = "", facts: Mapping[str, str] | None = None
) -> None:
    """Write the page atomically.

    Args:
        path: The ``.html`` file.
        title: The headline.
        sections: What the report says, from top to bottom.
        subtitle: One sentence below the headline.
        facts: Names and values for the head of the page: model, data, date, settings.

    Raises:
        WorkspaceError: The file cannot be written.
    """
    page = _template().render(
        title=title, subtitle=subtitle, facts=facts or {}, sections=sections, version=__version__, kind=_kind
    )
    write_text(path, page)


@cache
def _template():  # type: ignore[no-untyped-def]  # jinja2 is imported only when a report is written
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return environment.from_string(Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8"))


def _kind(block: object) -> str:
    """The name by which the template tells blocks and cells apart."""
    return type(block).__name__.lower()
