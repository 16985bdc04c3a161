"""Nothing that was accepted is lost, whatever happens to the process, the clock or the files."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError

from srpu.active import schema
from srpu.active import store as store_module
from srpu.active.entries import StoredImage
from srpu.active.labels import label_path, read_label, write_label
from srpu.active.lock import one_writer
from srpu.active.query import Query, Window
from srpu.active.store import FILE, Store
from srpu.errors import StoreError
from srpu.files import write_json


def ids(value: int, shape: tuple[int, int] = (4, 6)) -> np.ndarray:
    return np.full(shape, value, np.uint8)


def test_labels_are_kept_as_files_and_the_newest_counts(store: Store) -> None:
    first = store.accept("a", ids(1), state="drawn", who="Li")
    second = store.accept("a", ids(2), state="edited", who="Wang", prediction="m")
    assert [label.mask for label in store.labels()] == [first.mask, second.mask]
    assert store.current() == {"a": second}
    assert (store.ids(first) == 1).all()
    assert (store.ids(second) == 2).all()
    store.revoke([second], who="Li", why="wrong image")
    assert store.current() == {"a": first}


def test_a_window_is_laid_over_what_is_labelled(store: Store) -> None:
    patch = np.array([[0, 255], [2, 2]], np.uint8)
    store.accept("a", patch, state="edited", who="Li", window=Window(1, 2, 2, 2), shape=(4, 6))
    store.accept("a", ids(1, (2, 2)), state="edited", who="Li", window=Window(0, 2, 2, 2))
    expected = np.full((4, 6), 255)
    expected[0:2, 2:4] = 1
    expected[2, 2:4] = 2
    np.testing.assert_array_equal(store.ids(store.current()["a"]), expected)
    with pytest.raises(ValueError, match="needs the image's shape"):
        store.accept("b", patch, state="edited", who="Li", window=Window(1, 2, 2, 2))


def test_not_reviewed_labels_say_so(store: Store) -> None:
    assert not store.accept("a", ids(1), state="not reviewed", who="Li").reviewed
    assert store.accept("a", ids(1), state="confirmed", who="Li").reviewed


def test_a_damaged_label_is_an_error(store: Store) -> None:
    label = store.accept("a", ids(1), state="drawn", who="Li")
    path = label_path(store.folder, label.mask)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StoreError, match="restore active_learning/labels"):
        store.ids(label)
    path.unlink()
    with pytest.raises(StoreError, match=r"cannot be read"):
        store.ids(label)


def test_a_label_of_other_content_is_an_error(folder: Path) -> None:
    path = label_path(folder, write_label(folder, ids(1)))
    other = label_path(folder, write_label(folder, ids(2)))
    path.write_bytes(other.read_bytes())
    with pytest.raises(StoreError, match="is not what was accepted"):
        read_label(path)


@given(st.integers(1, 5), st.integers(1, 5), st.data())
@settings(max_examples=30, deadline=None)
def test_labels_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, h: int, w: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    values = np.array(data.draw(st.lists(st.integers(0, 255), min_size=h * w, max_size=h * w)), np.uint8).reshape(h, w)
    np.testing.assert_array_equal(read_label(label_path(folder, write_label(folder, values))), values)


def test_rounds_only_go_forward(store: Store) -> None:
    store.begin_round(1, labelled=3)
    assert store.note(1, "trained", loss=0.5).facts == {"labelled": 3, "loss": 0.5}
    assert store.note(1, "trained", loss=0.4).facts == {"labelled": 3, "loss": 0.4}  # a step that is done again
    with pytest.raises(StoreError, match="Round 1 is trained already, so it cannot be begun now"):
        store.note(1, "begun")
    with pytest.raises(StoreError, match="Round 1 has begun already"):
        store.begin_round(1)
    with pytest.raises(StoreError, match="Round 2 has not begun"):
        store.note(2, "trained")
    assert [round_.number for round_ in store.rounds()] == [1]


def test_queries_and_their_answers(store: Store) -> None:
    queries = [Query("a", "s/a.tif"), Query("b", "b.tif", Window(0, 0, 2, 2)), Query("c", "c.png"), Query("d", "d.png")]
    asked = store.ask(1, [(query, {"rank": rank}) for rank, query in enumerate(queries)])
    assert [one.query for one in asked] == queries
    store.accept("a", ids(1), state="edited", who="Li", query=asked[0], batch="1")
    store.skip(asked[1], "blurred")
    store.give_back(asked[2:3], "closed")
    assert [one.state for one in store.asked(1)] == ["answered", "skipped", "returned", "open"]
    assert [one.query.name for one in store.asked(state="open")] == ["d"]


def test_undo_takes_back_the_newer_of_take_in_and_promotion(store: Store) -> None:
    asked = store.ask(1, [(Query("a", "a.png"), {}), (Query("b", "b.png"), {})])
    store.promote(1, "models/round_1_best.pth", "m1")
    for one in asked:
        store.accept(one.query.image, ids(1), state="edited", who="Li", query=one, batch="x")
    store.promote(2, "models/round_2_best.pth", "m2")
    assert "promotion of the model of round 2" in store.undo(who="Li")
    current = store.current_model()
    assert current is not None
    assert current.model == "m1"
    assert store.undo(who="Li").startswith("Masks taken back: 2;")
    assert store.current() == {}
    assert [one.state for one in store.asked(1)] == ["open", "open"]
    assert "there is no current model" in store.undo(who="Li")
    with pytest.raises(StoreError, match="nothing to take back"):
        store.undo(who="Li")
    assert len(store.labels()) == 2  # nothing is deleted


def test_masks_that_were_there_from_the_start_are_not_undone(store: Store) -> None:
    store.accept("a", ids(1), state="drawn", who="Li")
    with pytest.raises(StoreError, match="nothing to take back"):
        store.undo(who="Li")


def test_scores_by_model(store: Store) -> None:
    store.put_scores("m1", ((f"{n:03d}", {"entropy": n / 300}, np.arange(4) / 8) for n in range(250)))
    store.put_scores("m2", [("000", {"entropy": 0.5}, None)])
    assert len(store.scored("m1")) == 250
    found = list(store.scores("m1"))
    assert [image for image, _, _ in found] == [f"{n:03d}" for n in range(250)]
    assert found[30][1] == {"entropy": 0.1}
    features = found[30][2]
    assert features is not None
    np.testing.assert_array_equal(features, [0, 0.125, 0.25, 0.375])
    assert list(store.scores("m2")) == [("000", {"entropy": 0.5}, None)]


def test_whoever_reads_scores_may_write(store: Store) -> None:
    store.put_scores("m", ((f"{n:03d}", {}, None) for n in range(120)))
    for image, _, _ in store.scores("m"):
        store.accept(image, ids(1), state="drawn", who="Li")
    assert len(store.current()) == 120


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("SQLITE_BUSY", "another process holds it"),
        ("SQLITE_FULL", "the disk is full"),
        ("SQLITE_READONLY_DBMOVED", "may not be written to"),
        ("SQLITE_IOERR_WRITE", "disk does not answer"),
        ("SQLITE_CORRUPT", "is damaged .* move it away"),
    ],
)
def test_only_a_damaged_store_is_called_damaged(tmp_path: Path, name: str, says: str) -> None:
    cause = sqlite3.OperationalError("as the database says it")
    cause.sqlite_errorname = name
    sentence = schema.refusal(tmp_path / FILE, tmp_path, OperationalError(None, None, cause))
    assert re.search(says, sentence)


def test_a_store_that_another_program_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = sqlite3.connect(store.folder / FILE, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(
        store, "_engine", create_engine(f"sqlite:///{store.folder / FILE}", connect_args={"timeout": 0})
    )
    with pytest.raises(StoreError, match="another process holds it"):
        store.rounds()
    holder.close()
    assert store.rounds() == []


def test_an_interrupted_scoring_keeps_what_it_had(store: Store) -> None:
    def items():  # type: ignore[no-untyped-def]
        for n in range(150):
            yield f"{n:03d}", {}, None
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put_scores("m", items())
    assert len(store.scored("m")) == 100


def test_order_does_not_depend_on_the_clock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.accept("a", ids(1), state="drawn", who="Li")

    class Past(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(1999, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(store_module, "datetime", Past)
    late = store.accept("a", ids(2), state="drawn", who="Li")
    assert late.when.startswith("1999")
    assert store.current() == {"a": late}


def test_images_are_replaced_under_their_hash(store: Store) -> None:
    store.remember_images([StoredImage("a", "x.png", "raw", "g"), StoredImage("b", "y.png", "raw", "g")])
    store.remember_images([StoredImage("a", "z.png", "raw", "h")])
    assert store.images()["a"] == StoredImage("a", "z.png", "raw", "h")
    assert len(store.images()) == 2


@given(st.lists(st.tuples(st.sampled_from(["accept", "revoke", "undo"]), st.integers(0, 2)), max_size=12))
@settings(max_examples=25, deadline=None)
def test_current_labels_are_those_of_a_simple_model(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]]
) -> None:
    living: list[tuple[int, str]] = []
    with Store.open(tmp_path_factory.mktemp("store")) as store:
        for step, (action, image) in enumerate(actions):
            mine = [number for number, name in living if name == str(image)]
            if action == "accept":
                label = store.accept(str(image), ids(step), state="drawn", who="x", batch=str(step))
                living.append((label.number, str(image)))
            elif action == "revoke" and mine:
                store.revoke([one for one in store.labels() if one.number == mine[0]], who="x", why="")
                living.remove((mine[0], str(image)))
            elif action == "undo" and living:
                store.undo(who="x")
                living.pop()
            assert {name: label.number for name, label in store.current().items()} == {
                name: number for number, name in sorted(living)
            }


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids such names")
def test_a_store_may_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "工作?a=1#b %20"
    with Store.open(folder) as store:
        store.begin_round(1)
    assert (folder / "store.db").is_file()


def test_a_store_of_a_newer_version_is_refused(folder: Path) -> None:
    with Store.open(folder):
        pass
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("UPDATE about SET version = 99")
    connection.close()
    before = (folder / FILE).read_bytes()
    with pytest.raises(StoreError, match=r"newer SRPU \(version 99"), Store.open(folder):
        pass
    assert (folder / FILE).read_bytes() == before


@pytest.mark.parametrize("damage", ["garbage", "half", "tables"])
def test_a_damaged_store_is_refused_and_left_alone(folder: Path, damage: str) -> None:
    with Store.open(folder) as store:
        for n in range(40):
            store.begin_round(n, text="x" * 2000)
    path = folder / FILE
    if damage == "garbage":
        path.write_bytes(b"garbage" * 1000)
    elif damage == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE scores")
        connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"is damaged .*move it away"), Store.open(folder):
        pass
    assert path.read_bytes() == before


def test_looking_at_no_store(folder: Path) -> None:
    with pytest.raises(StoreError, match="no active learning here yet"), Store.open(folder, read_only=True):
        pass
    assert not folder.exists()


def _older(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE images ADD COLUMN place TEXT"))


def _failing(connection: Connection) -> None:
    _older(connection)
    raise OSError("the power went")


def test_an_older_store_is_copied_and_brought_up_to_date(folder: Path) -> None:
    with Store.open(folder) as store:
        store.accept("a", ids(1), state="drawn", who="Li")
    path, backups = folder / FILE, folder / "backups"
    engine = schema.open_engine(path, backups, read_only=False, migrations={1: _older})
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version FROM about")).scalar() == 2
        assert "place" in [row[1] for row in connection.execute(text("PRAGMA table_info(images)"))]
        connection.rollback()
    engine.dispose()
    (copy,) = backups.glob("*version_1.db")
    with sqlite3.connect(copy) as old:
        assert old.execute("SELECT version FROM about").fetchone() == (1,)
        assert old.execute("SELECT count(*) FROM labels").fetchone() == (1,)
    old.close()


def test_a_migration_that_breaks_changes_nothing(folder: Path) -> None:
    with Store.open(folder) as store:
        store.accept("a", ids(1), state="drawn", who="Li")
    with pytest.raises(OSError, match="power"):
        schema.open_engine(folder / FILE, folder / "backups", read_only=False, migrations={1: _failing})
    with Store.open(folder) as store:
        assert len(store.current()) == 1


def test_two_writers_are_refused_and_a_reader_is_not(folder: Path) -> None:
    with Store.open(folder) as store:
        store.begin_round(1)
        with (
            pytest.raises(StoreError, match=rf"at work on this store already: process {os.getpid()}"),
            Store.open(folder),
        ):
            pass
        with Store.open(folder, read_only=True) as reader:
            assert len(reader.rounds()) == 1
    with Store.open(folder):
        pass


def test_a_lock_of_another_computer(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock = folder / "lock.json"
    write_json(lock, {"host": "elsewhere", "process": 7, "alive": time.time() - 10, "alive_at": "just now"})
    with pytest.raises(StoreError, match="process 7 on elsewhere, last sign of life just now"), one_writer(folder):
        pass
    write_json(lock, {"host": "elsewhere", "process": 7, "alive": time.time() - 3600, "alive_at": "long ago"})
    with one_writer(folder):
        assert json.loads(lock.read_text())["process"] == os.getpid()
    assert "left over by process 7 on elsewhere" in caplog.text
    assert not lock.exists()


def test_a_sign_of_life_from_the_future_is_taken_over_if_it_stays(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = {"host": "elsewhere", "process": 7, "alive": time.time() + 1e6, "alive_at": "2040"}
    write_json(folder / "lock.json", there)
    with one_writer(folder, beat=0.01):
        pass
    assert "is taken over" in caplog.text


def test_the_holder_shows_signs_of_life(folder: Path) -> None:
    with one_writer(folder, beat=0.01):
        first = json.loads((folder / "lock.json").read_text())["alive"]
        for _ in range(500):
            if json.loads((folder / "lock.json").read_text())["alive"] > first:
                return
            time.sleep(0.01)
    raise AssertionError("no sign of life in 5 seconds")


def work(folder: Path, told: int) -> None:
    """Take in labels and end rounds for ever, telling what is finished through the file descriptor ``told``."""
    with Store.open(folder) as store:
        last = store.last_round()
        number = last.number + 1 if last else 1
        while True:
            store.begin_round(number)
            (asked,) = store.ask(number, [(Query(f"i{number}", f"i{number}.png"), {})])
            picture = ids(number % 250, (8, 8))
            store.accept(asked.query.image, picture, state="edited", who="x", query=asked, batch=str(number))
            os.write(told, f"label {number}\n".encode())
            store.note(number, "closed")
            os.write(told, f"round {number}\n".encode())
            number += 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is killed in the middle of its work, which needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the test process has threads; the child uses none of them
def test_fifty_kills_lose_no_label_and_no_round(folder: Path) -> None:
    chance = random.Random(1)
    done: set[tuple[str, int]] = set()
    for _ in range(50):
        hear, told = os.pipe()
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                work(folder, told)
            os._exit(1)
        os.close(told)
        with os.fdopen(hear) as lines:
            finished = [lines.readline() for _ in range(chance.randint(1, 4))]
            time.sleep(chance.random() * 0.02)
            os.kill(child, signal.SIGKILL)
            finished += lines.readlines()
        os.waitpid(child, 0)
        done |= {(kind, int(number)) for kind, number in (line.split() for line in finished if line.endswith("\n"))}
    with Store.open(folder) as store:
        labels = {label.image: label for label in store.labels()}
        closed = {round_.number for round_ in store.rounds() if round_.phase == "closed"}
        for kind, number in done:
            if kind == "round":
                assert number in closed
            else:
                assert (store.ids(labels[f"i{number}"]) == number % 250).all()
        answered = {one.query.image for one in store.asked(state="answered")}
        assert answered == set(labels)  # never one without the other
    assert len(done) > 50
