"""How SRPU speaks to a terminal: what the package logs becomes lines, what it tracks becomes bars.

Only the command line listens; who imports the package sees nothing of this.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

from srpu.progress import reporter

T = TypeVar("T")

_PACKAGE = Path(__file__).parent
_log = logging.getLogger("srpu")


@contextmanager
def speaking() -> Iterator[None]:
    """Print what the package logs and draw what it tracks, until the block ends."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a Windows console of code page 936 or 1252 lacks some characters
            stream.reconfigure(errors="replace")
    follower = int(os.environ.get("RANK", "0")) > 0  # torchrun starts several processes; one of them speaks
    lines, silence = _Lines(), logging.NullHandler()
    before = _log.level, _log.propagate, warnings.showwarning
    _log.setLevel(logging.WARNING if follower else logging.INFO)
    _log.propagate = False
    _log.addHandler(lines)
    logging.getLogger().addHandler(silence)  # other packages' remarks are not the user's concern
    warnings.showwarning = _show_warning
    bars = _Bars() if sys.stdout.isatty() else None
    token = reporter.set(None if follower else bars or plain_lines)
    try:
        yield
    finally:
        if bars:
            bars.stop()
        reporter.reset(token)
        logging.getLogger().removeHandler(silence)
        _log.removeHandler(lines)
        _log.setLevel(before[0])
        _, _log.propagate, warnings.showwarning = before


def plain_lines(
    items: Iterable[T],
    doing: str,
    total: int | None,
    *,
    every: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """Yield ``items`` and log a line for each further tenth of them.

    There are never two lines within ``every`` seconds, and none within the last tenth: the end speaks for itself.
    """
    last, shown = clock(), 0
    for done, item in enumerate(items, start=1):
        yield item
        if total and min(done - shown, total - done) * 10 >= total and clock() - last >= every:
            last, shown = clock(), done
            _log.info("%s: %d of %d", doing, done, total)


class _Bars:
    """One bar for each piece of work under way; they vanish when it is done."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        text = TextColumn("{task.description}", markup=False)
        columns = text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
        self._progress = Progress(*columns, transient=True)

    def __call__(self, items: Iterable[T], doing: str, total: int | None) -> Iterator[T]:
        self._progress.start()
        bar = self._progress.add_task(doing, total=total)
        try:
            for item in items:
                yield item
                self._progress.advance(bar)
        finally:
            self._progress.remove_task(bar)
            if not self._progress.tasks:
                self._progress.stop()

    def stop(self) -> None:
        """Take the bars away."""
        self._progress.stop()


class _Lines(logging.Handler):
    """Plain sentences to standard output; warnings and errors, marked as such, to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        stream, mark = sys.stdout, ""
        if record.levelno >= logging.WARNING:
            stream, mark = sys.stderr, f"{record.levelname.capitalize()}: "
        # The streams are looked up anew each time: bars put themselves in their place while they are drawn.
        stream.write(f"{mark}{self.format(record)}\n")
        stream.flush()


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: Any = None,
) -> None:
    """Print warnings raised by SRPU itself; those of other packages are noise to the user."""
    if Path(filename).is_relative_to(_PACKAGE):
        _log.warning(message)
