"""Writing files so that a crash, a full disk or a second process never leaves half of one."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from srpu.errors import WorkspaceError

log = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

_CURES = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "the file is larger than that disk allows (FAT32 ends at 4 GB); choose another folder",
    errno.EACCES: "you may not write there; choose another folder or change its permissions",
    errno.EPERM: "you may not write there; choose another folder or change its permissions",
    errno.EROFS: "that disk is read-only; choose another folder",
    errno.ENOTDIR: "a file stands where a folder is needed; move it away",
    errno.EEXIST: "a file stands where a folder is needed; move it away",
}


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals while writing ``path`` into one sentence.

    Raises:
        WorkspaceError: The disk is full, read-only or forbidden.
    """
    try:
        yield
    except OSError as error:
        cure = _CURES.get(error.errno or 0, error.strerror or str(error))
        raise WorkspaceError(f"Cannot write {path}: {cure}.") from error


def make_folder(path: Path) -> Path:
    """Create ``path`` and its parents if they are missing.

    Raises:
        WorkspaceError: The folder cannot be made.
    """
    with writing_to(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Hand out a temporary path beside ``path``; when the block ends well, it takes the place of ``path`` at once.

    The temporary name keeps the suffix, so libraries that choose the format by it work. If the block fails, ``path``
    stays as it was.

    Raises:
        WorkspaceError: The disk is full, read-only or forbidden.
    """
    make_folder(path.parent)
    with writing_to(path):
        handle, name = tempfile.mkstemp(prefix=".tmp-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()


@contextmanager
def open_replacing(path: Path) -> Iterator[IO[bytes]]:
    """Like :func:`replacing`, but hands out the open binary file."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        yield file


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` atomically, with the same line ends on every system."""
    with open_replacing(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: Path, content: Any, *, indent: int | None = 1) -> None:
    """Write ``content`` atomically as UTF-8 JSON."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=indent, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read UTF-8 JSON.

    Raises:
        WorkspaceError: The file is not valid JSON.
        FileNotFoundError: There is no such file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WorkspaceError(f"{path} is not valid JSON ({error}); correct it, restore a copy or delete it.") from error


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file ``path``; a second process that wants it is refused with one sentence.

    The operating system frees the lock when the process ends, however it ends.

    Raises:
        WorkspaceError: Another process holds the lock.
    """
    make_folder(path.parent)
    with writing_to(path):
        file = path.open("a+b")
    try:
        if not _try_lock(file):
            raise WorkspaceError(
                f"{what} is already running in this workspace ({path}); wait for it to finish or stop it."
            )
        yield
    finally:
        file.close()


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _cannot_lock(error: OSError) -> bool:
    """False if another process holds the lock; some network folders have no locks at all, which must not stop work."""
    if error.errno not in _NO_LOCKS:
        return False
    log.warning("This folder cannot be locked (%s): take care that only one srpu command writes to it.", error.strerror)
    return True


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            return _cannot_lock(error)
        return True

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return _cannot_lock(error)
        return True
