"""How long work reports that it advances, without knowing whether anyone watches.

Rooms below the command line call :func:`track`; only the command line knows whether there is a terminal to draw in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

Reporter = Callable[[Iterable[T], str, int | None], Iterable[T]]
"""Takes the items, what is being done, and how many there are; gives the items back."""

reporter: ContextVar[Reporter | None] = ContextVar("reporter", default=None)  # type: ignore[type-arg]
"""Set by the command line; None means that nobody watches."""


def track(items: Iterable[T], doing: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` while the command line, if it watches, shows how far they are.

    >>> list(track([1, 2, 3], "counting"))
    [1, 2, 3]
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    watch = reporter.get()
    yield from items if watch is None else watch(items, doing, total)
