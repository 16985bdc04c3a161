"""Writing is all or nothing, and refusals read well."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from srpu.errors import WorkspaceError
from srpu.files import locked, make_folder, open_replacing, read_json, replacing, write_json, write_text


def test_json_comes_back_and_is_plain_utf8(tmp_path: Path) -> None:
    path = tmp_path / "新 文件夹" / "索引.json"
    write_json(path, {"name": "正极", "values": [1, 2.5, None]})
    assert read_json(path) == {"name": "正极", "values": [1, 2.5, None]}
    assert "正极".encode() in path.read_bytes()


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_text(path, "old")
    with pytest.raises(RuntimeError), open_replacing(path) as file:
        file.write(b"half of the ne")
        raise RuntimeError("power cut")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="the disk is full") as caught, replacing(tmp_path / "model.pth"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "model.pth" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "json").write_text("not a folder", encoding="utf-8")
    with pytest.raises(WorkspaceError, match="a file stands where a folder is needed"):
        make_folder(tmp_path / "json" / "inner")


def test_numbers_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "scores.json", {"dice": float("nan")})
    assert not (tmp_path / "scores.json").exists()


def test_damaged_json_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    path.write_text('{"train": [', encoding="utf-8")
    with pytest.raises(WorkspaceError, match=r"splits\.json is not valid JSON"):
        read_json(path)
    with pytest.raises(json.JSONDecodeError):
        json.loads(path.read_text(encoding="utf-8"))


HOLD = """
import sys, time
from pathlib import Path
from srpu.files import locked
with locked(Path(sys.argv[1]), "A training"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_and_a_dead_one_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(WorkspaceError, match="A training is already running"), locked(path, "A training"):
            pass
        other.kill()
    with locked(path, "A training"):
        pass


def test_a_folder_that_knows_no_locks_is_said_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="Windows locks in another way")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / ".lock", "A training"):
        assert "cannot be locked (No locks available)" in caplog.text
