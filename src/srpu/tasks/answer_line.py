"""Waiting for files, which the Enter key ends early."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Self


class AnswerLine:
    """Waits, until time is up or somebody presses Enter; without a keyboard, until time is up."""

    def __init__(self) -> None:
        self._pressed = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if sys.stdin is not None and sys.stdin.isatty():
            self._thread = threading.Thread(
                target=self._listen, daemon=True
            )  # reading blocks; it dies with the process
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended = True

    @property
    def hint(self) -> str:
        """What to press."""
        return " (Enter looks at once)" if self._thread else ""

    def wait(self, seconds: float) -> None:
        """Wait ``seconds`` at most."""
        self._pressed.wait(seconds)
        self._pressed.clear()

    def _listen(self) -> None:
        for _ in sys.stdin:
            if self._ended:
                return
            self._pressed.set()
