"""The tables of the store, and how older ones become them.

Labels, and all that happens to labels, queries, rounds and models, are rows that are added and never changed; the order
of rows is the order of events, whatever the clock says.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    URL,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    inspect,
    select,
)
from sqlalchemy.exc import DatabaseError

from srpu.errors import StoreError, WorkspaceError
from srpu.files import make_folder, replacing

VERSION = 1
"""Of the tables below."""

COPIES = 5
"""That :func:`keep_copy` leaves."""

_ROUND = "round"

metadata = MetaData()

about = Table("about", metadata, Column("version", Integer, nullable=False))

images = Table(
    "images",
    metadata,
    Column("sha256", String, primary_key=True),
    Column("id", String, nullable=False),
    Column("dataset", String, nullable=False),
    Column("group", String, nullable=False),
)

labels = Table(
    "labels",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("image", String, nullable=False, index=True),
    Column("mask", String, nullable=False),
    Column("state", String, nullable=False),
    Column("who", String, nullable=False),
    Column("when", String, nullable=False),
    Column("window", JSON),
    Column("prediction", String),
    Column("round", Integer),
    Column("query", Integer, ForeignKey("queries.number")),
)

queries = Table(
    "queries",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("round", Integer, nullable=False, index=True),
    Column("image", String, nullable=False),
    Column("id", String, nullable=False),
    Column("window", JSON),
    Column("facts", JSON, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("when", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("subject", Integer),
    Column("facts", JSON, nullable=False),
)
"""Kinds: "round", "promoted", "kept" and "demoted" (of a round or its model), "answered", "skipped", "returned" and
"reopened" (of a query), "taken in" and "revoked" (of a label)."""

scores = Table(
    "scores",
    metadata,
    Column("model", String, primary_key=True),
    Column("image", String, primary_key=True),
    Column("scores", JSON, nullable=False),
    Column("features", LargeBinary),
)

_CURES = {
    "SQLITE_BUSY": "another process holds it; wait for that to end and try again",
    "SQLITE_LOCKED": "another process holds it; wait for that to end and try again",
    "SQLITE_FULL": "the disk is full; free some space and try again",
    "SQLITE_READONLY": "it may not be written to; change its permissions and those of its folder",
    "SQLITE_CANTOPEN": "it may not be opened; change its permissions and those of its folder",
    "SQLITE_IOERR": "its disk does not answer; check the disk or the network folder and try again",
}
"""What stands in the way of a store that is in order, by the beginning of SQLite's name for it."""

Migration = Callable[[Connection], None]

MIGRATIONS: dict[int, Migration] = {}
"""What makes tables of a version those of the next: the key is the version before."""


def open_engine(
    path: Path, backups: Path, *, read_only: bool, migrations: Mapping[int, Migration] = MIGRATIONS
) -> Engine:
    """The database at ``path``, with tables of the present version.

    The rollback journal and full synchronisation are safe on network folders, where a write-ahead log is not.

    Args:
        path: The file; it is made unless ``read_only``.
        backups: Where an older one is copied before it is changed.
        read_only: Neither made nor changed.
        migrations: By the version that they start from.

    Raises:
        StoreError: It is damaged, from a newer SRPU, or missing and ``read_only``.
    """
    if not (path.exists() and path.stat().st_size) and _holds_labels(path.parent):
        raise StoreError(damaged(path, backups, "it is gone or empty, and labels are there"))
    if read_only and not path.exists():
        raise StoreError(f"There is no active learning here yet ({path}); `srpu active run` begins it.")
    make_folder(path.parent)
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's own BEGIN, below, also covers tables
        cursor = connection.cursor()
        for pragma in ("journal_mode=DELETE", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    with ExitStack() as unless_it_opens:
        unless_it_opens.callback(engine.dispose)
        try:
            _make_or_migrate(engine, path, backups, read_only=read_only, migrations=migrations)
        except DatabaseError as error:
            raise StoreError(refusal(path, backups, error)) from error
        unless_it_opens.pop_all()
    return engine


def refusal(path: Path, backups: Path, error: DatabaseError) -> str:
    """The sentence about what the database would not do."""
    name = str(getattr(error.orig, "sqlite_errorname", ""))
    for code, cure in _CURES.items():
        if name.startswith(code):
            return f"The store {path} cannot be used now: {cure}; nothing is lost."
    return damaged(path, backups, str(error.orig))


def damaged(path: Path, backups: Path, why: str) -> str:
    """The sentence about a store that cannot be used."""
    return (
        f"The store {path} is damaged ({why}): move it away and put the newest copy from {backups} in its place; the "
        f"masks themselves lie in {path.parent / 'labels'} and nothing was changed."
    )


def backup(path: Path, backups: Path, why: str) -> Path:
    """Copy the store; gives the copy.

    Raises:
        WorkspaceError: It cannot be written.
    """
    copy = make_folder(backups) / f"store_{datetime.now(UTC):%Y%m%dT%H%M%S%f}_{why}.db"
    with replacing(copy) as temporary:
        shutil.copyfile(path, temporary)
    return copy


def keep_copy(path: Path, backups: Path) -> None:
    """Copy the store without scores, which can be computed again; the newest ``COPIES`` of such copies stay.

    Raises:
        WorkspaceError: It cannot be written.
    """
    copy = backup(path, backups, _ROUND)
    try:
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("DELETE FROM scores")
            connection.commit()
            connection.execute("VACUUM")
    except sqlite3.Error as error:
        raise WorkspaceError(f"{copy} cannot be written ({error}); free some space and try again.") from error
    for old in sorted(backups.glob(f"store_*_{_ROUND}.db"))[:-COPIES]:
        old.unlink(missing_ok=True)


def _holds_labels(folder: Path) -> bool:
    return any((folder / "labels").glob("*.png"))


def _make_or_migrate(
    engine: Engine, path: Path, backups: Path, *, read_only: bool, migrations: Mapping[int, Migration]
) -> None:
    there = set(inspect(engine).get_table_names())
    if not there and not read_only:
        with engine.begin() as connection:
            metadata.create_all(connection)
            connection.execute(about.insert().values(version=VERSION))
        return
    if "about" not in there:
        raise StoreError(damaged(path, backups, "its tables are missing"))
    with engine.connect() as connection:
        problem = connection.exec_driver_sql("PRAGMA quick_check").scalar()
        version = connection.execute(select(about.c.version)).scalar()
    if problem != "ok" or version is None:
        raise StoreError(damaged(path, backups, str(problem)))
    newest = max([VERSION, *(before + 1 for before in migrations)])
    if version > newest:
        raise StoreError(
            f"The store {path} was written by a newer SRPU (version {version} of its tables, this one knows {newest}): "
            "use that SRPU; nothing was changed."
        )
    if version < newest and not read_only:
        backup(path, backups, f"version_{version}")
        with engine.begin() as connection:
            for before in range(version, newest):
                migrations[before](connection)
                connection.execute(about.update().values(version=before + 1))
    elif missing := set(metadata.tables) - there:
        raise StoreError(damaged(path, backups, f"it lacks {', '.join(sorted(missing))}"))
