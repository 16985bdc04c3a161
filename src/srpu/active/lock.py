"""One writer for a store, also where the operating system's locks do not reach other computers."""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from srpu.errors import StoreBusyError, WorkspaceError
from srpu.files import locked, write_json

log = logging.getLogger(__name__)

BEAT = 15.0
"""Seconds between two signs of life."""

SILENT = 300.0
"""Seconds after which a lock of another computer is taken to be left over."""


@contextmanager
def one_writer(folder: Path, *, beat: float = BEAT, silent: float = SILENT) -> Iterator[None]:
    """Hold the store in ``folder``: nobody else writes to it.

    On one computer the operating system's lock decides. Between computers that share a folder without such locks, a
    file tells host, process and last sign of life. A sign of life from the future is a clock that jumped, and tells
    nothing: then the file counts as left over if it stays the same for a while.

    Args:
        folder: The store's.
        beat: Seconds between two signs of life.
        silent: Seconds after which a lock of another computer is left over.

    Raises:
        StoreBusyError: Somebody else is at work; the sentence says who, where and since when.
    """
    path = folder / "lock.json"
    with ExitStack() as exits:
        try:
            exits.enter_context(locked(folder / ".lock", "Active learning"))
        except WorkspaceError as error:
            if (there := _read(path)) is None:
                raise
            raise StoreBusyError(_taken(there)) from error
        _refuse_others(path, beat, silent)
        stop = threading.Event()
        _sign(path)
        thread = threading.Thread(target=_keep_signing, args=(path, beat, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            with suppress(OSError):
                path.unlink()


def _refuse_others(path: Path, beat: float, silent: float) -> None:
    there = _read(path)
    if there is None or there.get("host") == platform.node():
        return  # on this computer the operating system has just told that nobody holds it
    alive, now = there.get("alive"), time.time()
    age = now - alive if isinstance(alive, int | float) else silent
    if 0 <= age < silent:
        raise StoreBusyError(_taken(there))
    if age < 0:
        time.sleep(min(2 * beat, silent))
        if _read(path) != there:
            raise StoreBusyError(_taken(there))
    log.warning("A lock was left over by process %s on %s; it is taken over.", there.get("process"), there.get("host"))


def _taken(there: dict[str, Any]) -> str:
    return (
        f"Active learning is at work on this store already: process {there.get('process', '?')} on "
        f"{there.get('host', 'this computer')}, last sign of life {there.get('alive_at', 'unknown')}; wait for it to "
        "end, or stop it."
    )


def _keep_signing(path: Path, beat: float, stop: threading.Event) -> None:
    while not stop.wait(beat):
        with suppress(WorkspaceError):  # a full disk ends the work itself, with a sentence
            _sign(path)


def _sign(path: Path) -> None:
    now = time.time()
    readable = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    write_json(path, {"host": platform.node(), "process": os.getpid(), "alive": now, "alive_at": readable})


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
