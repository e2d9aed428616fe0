"""
An SQLite file that survives a power cut, and refuses what it cannot read.

It is opened for one process alone: then the write-ahead log needs no shared
memory, which network folders do not have.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import attrs

from ezlink_async.errors import ConfigurationError

# Not `nolock=1`, with which SQLite does without the write-ahead log.
_NO_LOCKS = "win32-none" if os.name == "nt" else "unix-none"


@attrs.frozen
class Schema:
    """
    What the file of an *application* holds: one script of SQL a version.

    *patience* is how many seconds to wait while another program looks at it.
    """

    application: int
    migrations: Sequence[str]
    patience: float = 5.0


def open_database(
    path: Path, schema: Schema, *, locking: bool = True
) -> sqlite3.Connection:
    """
    Open the file at *path*, made when it is missing, and lead it up to date.

    Without *locking* the file system is not asked for locks. Raises
    :exc:`ConfigurationError` when the file is damaged, of a newer version, in
    use, or of another application.
    """
    way = "mode=rwc" if locking else f"mode=rwc&vfs={_NO_LOCKS}"
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(_address(path, way), schema.patience)
        with _closed_on_failure(connection):
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Before anything is changed: it may be somebody else's.
            _check_owner(connection, path, schema)
            connection.execute("PRAGMA journal_mode = WAL")
            # Slower than the usual NORMAL, which may forget after a power cut;
            # and macOS means less than others by "on the disk".
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA checkpoint_fullfsync = ON")
            _check(connection)
            _lead_up(connection, schema)
    return connection


def open_copy(path: Path | None, schema: Schema) -> sqlite3.Connection:
    """Open a copy of the file at *path*, empty if there is none; leaves no trace."""
    path = path or Path("journal")
    with _told(path):
        connection = _connect("", schema.patience)
        with _closed_on_failure(connection):
            if path.exists():
                _copy(path, connection, schema.patience)
            _check_owner(connection, path, schema)
            _check(connection)
            _lead_up(connection, schema)
    return connection


def _copy(path: Path, copy: sqlite3.Connection, patience: float) -> None:
    """Fill *copy* with what is at *path*, and leave nothing beside that."""
    log, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    # Without a log it was closed in good order, and nobody is at work on it.
    way = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    is_new = not index.exists()
    try:
        with contextlib.closing(_connect(_address(path, way), patience)) as real:
            # `backup` itself would wait for a file in use without end.
            real.execute("PRAGMA user_version").fetchone()
            real.backup(copy)
    finally:
        if is_new:
            index.unlink(missing_ok=True)


def _address(path: Path, way: str) -> str:
    # Any bytes may be in a name; and two slashes would begin a host.
    return f"file:{quote(os.fsencode(path.absolute()), safe='')}?{way}"


def _connect(address: str, patience: float) -> sqlite3.Connection:
    return sqlite3.connect(
        address,
        uri=bool(address),
        isolation_level=None,  # transactions are ours to begin
        check_same_thread=False,  # one at a time, but closed by another
        timeout=patience,
    )


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as fault:
        if "locked" in str(fault):
            raise ConfigurationError(
                f"another run or program is using {path}: wait for it, or end it"
            ) from None
        raise _unusable(path, fault) from None
    except sqlite3.DatabaseError as fault:
        raise ConfigurationError(
            f"{path} is damaged ({fault}): what it knew of paid tasks may be read with "
            "`sqlite3 FILE .recover`; move it away to begin anew"
        ) from None
    except OSError as fault:
        raise _unusable(path, fault.strerror or fault) from None


def _unusable(path: Path, says: object) -> ConfigurationError:
    return ConfigurationError(f"the journal {path} cannot be used: {says}")


@contextlib.contextmanager
def _closed_on_failure(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _check(connection: sqlite3.Connection) -> None:
    found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if found != "ok":
        raise sqlite3.DatabaseError(found.splitlines()[-1])


def _check_owner(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    if owner != schema.application and (owner or _tables(connection)):
        raise ConfigurationError(f"{path} is no journal of ours: move it away")
    if _version(connection) > len(schema.migrations):
        raise ConfigurationError(
            f"{path} was written by a newer version of ezlink-async: "
            "pip install --upgrade ezlink-async"
        )


def _lead_up(connection: sqlite3.Connection, schema: Schema) -> None:
    for number in range(_version(connection), len(schema.migrations)):
        # One transaction, or a crash would leave half a version.
        connection.executescript(
            f"BEGIN; {schema.migrations[number]} PRAGMA user_version = {number + 1}; "
            f"PRAGMA application_id = {schema.application}; COMMIT"
        )


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _tables(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return count
