"""Decoded pictures on disk."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from srpu.data.cache import OPEN_AT_ONCE, Cache
from srpu.errors import WorkspaceError


def _never() -> np.ndarray:
    raise AssertionError("decoded again")


def test_a_picture_is_decoded_once_and_then_mapped(tmp_path: Path) -> None:
    picture = np.arange(12, dtype=np.uint16).reshape(3, 4)
    first = Cache(tmp_path, 10**6).get("a", lambda: picture)
    again = Cache(tmp_path, 10**6).get("a", _never)
    assert isinstance(again, np.memmap)
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(first, again)


def test_beyond_the_limit_nothing_is_written_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(tmp_path, 100)
    picture = np.zeros((20, 20), dtype=np.uint8)
    with caplog.at_level(logging.INFO):
        for key in ("a", "b", "a"):
            np.testing.assert_array_equal(cache.get(key, lambda: picture), picture)
    assert not list(tmp_path.glob("*.npy"))
    assert sum("CACHE_LIMIT_GB" in record.getMessage() for record in caplog.records) == 1


def test_what_lies_in_the_folder_counts_towards_the_limit(tmp_path: Path) -> None:
    picture = np.zeros((30, 30), dtype=np.uint8)
    Cache(tmp_path, 1500).get("a", lambda: picture)
    Cache(tmp_path, 1500).get("b", lambda: picture)
    assert [path.name for path in tmp_path.glob("*.npy")] == ["a.npy"]


def test_a_half_written_file_is_made_again(tmp_path: Path) -> None:
    Cache(tmp_path, 10**6).get("a", lambda: np.ones((50, 50), dtype=np.uint8))
    path = tmp_path / "a.npy"
    path.write_bytes(path.read_bytes()[:200])
    assert Cache(tmp_path, 10**6).get("a", lambda: np.full((50, 50), 7, dtype=np.uint8))[0, 0] == 7


def test_open_files_stay_within_bounds(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**8)
    for number in range(OPEN_AT_ONCE + 20):
        cache.get(str(number), lambda: np.zeros((2, 2), dtype=np.uint8))
    assert len(cache._maps) == OPEN_AT_ONCE


def test_what_another_process_is_writing_may_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone.npy").symlink_to(tmp_path / "nothing")
    np.testing.assert_array_equal(Cache(tmp_path, 10**6).get("a", lambda: np.ones((2, 2))), np.ones((2, 2)))


def test_a_file_that_another_process_wrote_first_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a file that is open elsewhere cannot be replaced."""

    @contextmanager
    def refuse(path: Path) -> Iterator[Path]:
        np.save(path, np.full((2, 2), 7))
        raise WorkspaceError("in use")
        yield path

    monkeypatch.setattr("srpu.data.cache.replacing", refuse)
    assert int(Cache(tmp_path, 10**6).get("a", lambda: np.zeros((2, 2)))[0, 0]) == 7
