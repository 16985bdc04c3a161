from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from itertools import count

import pytest

from srpu.progress import reporter, track
from srpu.terminal import plain_lines, speaking

log = logging.getLogger("srpu.some.room")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_are_plain_and_warnings_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    with speaking():
        log.info("60 images indexed: %d%% labelled.", 50)
        log.warning("One mask is empty.")
        log.debug("hidden")
        logging.getLogger("another.package").warning("noise")
    said = capsys.readouterr()
    assert said.out == "60 images indexed: 50% labelled.\n"
    assert said.err == "Warning: One mask is empty.\n"


def test_only_warnings_of_srpu_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    import srpu

    with speaking(), warnings.catch_warnings(action="always"):
        warnings.showwarning("ours", UserWarning, srpu.__file__, 1)
        warnings.warn("theirs", stacklevel=1)
    assert capsys.readouterr().err == "Warning: ours\n"


def test_everything_is_as_before_afterwards() -> None:
    package, root = logging.getLogger("srpu"), logging.getLogger()

    def state() -> list[object]:
        return [package.level, package.propagate, list(package.handlers), list(root.handlers), warnings.showwarning]

    before = state()
    with pytest.raises(ValueError, match="oh"), speaking():
        assert state() != before
        raise ValueError("oh")
    assert state() == before
    assert reporter.get() is None


def test_other_processes_of_torchrun_keep_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with speaking():
        log.info("Epoch 1")
        log.warning("Out of memory soon.")
        assert reporter.get() is None
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Warning: Out of memory soon.\n")


def test_plain_lines_tell_tenths_but_not_too_often(capsys: pytest.CaptureFixture[str]) -> None:
    def ticking(seconds: float) -> Iterator[float]:
        return (seconds * tick for tick in count())

    with speaking():
        slow, quick = ticking(2.0), ticking(0.5)
        assert list(plain_lines(range(30), "Reading", 30, every=2.0, clock=lambda: next(slow))) == list(range(30))
        assert list(plain_lines(range(5), "Writing", 5, every=2.0, clock=lambda: next(quick))) == list(range(5))
        assert list(plain_lines(iter("ab"), "Waiting", None, every=0.0, clock=lambda: next(slow))) == ["a", "b"]
    assert capsys.readouterr().out == "".join(f"Reading: {done} of 30\n" for done in range(3, 30, 3)) + (
        "Writing: 4 of 5\n"
    )


def test_bars_may_lie_within_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    with speaking():
        for _ in range(2):  # bars come back after they have gone
            for image in track(["a", "b"], "Predicting [images]"):
                assert list(track(range(3), f"Tiles of {image}")) == [0, 1, 2]
                log.info("%s is done.", image)
    shown = screen.getvalue()
    assert "Predicting [images]" in shown
    assert shown.count("a is done.") == shown.count("b is done.") == 2
    assert "Traceback" not in shown


def test_bars_vanish_when_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(ValueError, match="oh"), speaking():
        for _ in track(range(3), "Reading"):
            raise ValueError("oh")
    assert sys.stdout is screen
    drawn = screen.getvalue()
    sys.stdout.write("free")
    assert screen.getvalue() == drawn + "free"
