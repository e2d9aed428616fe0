"""
Opens an SQLite file that survives a power cut, or raises why it cannot be used.

One process has the file to itself: then the write-ahead log needs no shared
memory, which network folders do not have.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import attrs

from ezlink_async._io.files import check_own, make_private, sync_folder
from ezlink_async.errors import ConfigurationError

# Not `nolock=1`, with which SQLite does without the write-ahead log.
_NO_LOCKS = "win32-none" if os.name == "nt" else "unix-none"


@attrs.frozen
class Schema:
    """
    The tables of an *application*: one script of SQL for each version.

    *check_rows* raises :exc:`sqlite3.DatabaseError` for rows that cannot be used.
    *patience* is how many seconds to wait while another program uses the file.
    """

    application: int
    migrations: Sequence[str]
    check_rows: Callable[[sqlite3.Connection], None] = lambda _: None
    patience: float = 5.0


def open_database(
    path: Path, schema: Schema, *, locking: bool = True
) -> sqlite3.Connection:
    """
    Open the file at *path*, made if missing, and migrate it to the latest version.

    A copy of an older version stays beside it: ``journal.v1.sqlite3`` for instance.

    Only the owner may read it. Without *locking* the file system is not asked for
    locks. Raises :exc:`ConfigurationError` if the file is damaged, of a newer
    version, in use, of another application, or a link in a folder of ours.
    """
    check_own(path)
    with _translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_private(path)
        connection = _connect(_address(path, _way(locking=locking)), schema.patience)
        with _closed_on_failure(connection):
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Before any change: the file may be another application's.
            _check_owner(connection, path, schema)
            connection.execute("PRAGMA journal_mode = WAL")
            # Slower than NORMAL, which may lose commits after a power cut; and
            # macOS needs more than a plain sync.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA checkpoint_fullfsync = ON")
            _check(connection)
            _keep_old(connection, path, schema, locking=locking)
            _bring_up(connection, schema)
    return connection


def _keep_old(
    connection: sqlite3.Connection, path: Path, schema: Schema, *, locking: bool
) -> None:
    """
    Leave a copy of a file of an older version beside it, named by the version.

    A kill leaves no half of one under that name.
    """
    version = _number(connection, "PRAGMA user_version")
    if not 0 < version < len(schema.migrations):
        return
    copy = path.with_name(f"{path.stem}.v{version}{path.suffix}")
    part = copy.with_name(f"{copy.name}.part")
    for each in (copy, part):
        check_own(each)
    part.unlink(missing_ok=True)
    make_private(part)
    address = _address(part, _way(locking=locking))
    with contextlib.closing(_connect(address, schema.patience)) as other:
        connection.backup(other)
        # So that a reader of the copy needs no log beside it.
        other.execute("PRAGMA journal_mode = DELETE")
    part.replace(copy)
    sync_folder(copy.parent)


def _make_private(path: Path) -> None:
    """Let the owner only read the file, and the log that a crash has left."""
    make_private(path)  # SQLite gives a new log the same rights
    log = path.with_name(f"{path.name}-wal")
    check_own(log)
    if log.exists():
        make_private(log)


def open_copy(path: Path | None, schema: Schema) -> sqlite3.Connection:
    """Open a copy in memory of the file at *path*, empty if there is none."""
    path = path or Path("journal")
    with _translated(path):
        connection = _connect("", schema.patience)
        with _closed_on_failure(connection):
            if path.exists():
                _copy(path, connection, schema.patience)
            _check_owner(connection, path, schema)
            _check(connection)
            _bring_up(connection, schema)
    return connection


def _copy(path: Path, copy: sqlite3.Connection, patience: float) -> None:
    """Copy the file at *path*, and leave no file beside it."""
    log, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    # Without a log the file was closed properly, and no program uses it.
    way = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    is_new = not index.exists()
    try:
        with contextlib.closing(_connect(_address(path, way), patience)) as real:
            # `backup` itself would wait endlessly for a file in use.
            real.execute("PRAGMA user_version").fetchone()
            real.backup(copy)
    finally:
        if is_new:
            index.unlink(missing_ok=True)


def _way(*, locking: bool) -> str:
    return "mode=rwc" if locking else f"mode=rwc&vfs={_NO_LOCKS}"


def _address(path: Path, way: str) -> str:
    # A name may have any bytes, and two slashes would begin a host.
    return f"file:{quote(os.fsencode(path.absolute()), safe='')}?{way}"


def _connect(address: str, patience: float) -> sqlite3.Connection:
    return sqlite3.connect(
        address,
        uri=bool(address),
        isolation_level=None,  # the journal begins its transactions itself
        check_same_thread=False,  # used by one thread at a time, but by several
        timeout=patience,
    )


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as fault:
        if "locked" in str(fault):
            raise ConfigurationError(
                f"another run or program is using {path}: wait for it, or end it"
            ) from None
        raise _unusable(path, fault) from None
    # UnicodeDecodeError: a message of SQLite's that quotes damaged bytes.
    except (sqlite3.DatabaseError, UnicodeDecodeError) as fault:
        raise ConfigurationError(
            f"{path} is damaged ({fault}): the ids of paid tasks may be read with "
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
    # Not `quick_check`, for which an index may lack rows: their jobs would be added,
    # and paid, again.
    found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    if found != "ok":
        raise sqlite3.DatabaseError(found.splitlines()[-1])


def _check_owner(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    owner = _number(connection, "PRAGMA application_id")
    tables = _number(connection, "SELECT count(*) FROM sqlite_master")
    if owner != schema.application and (owner or tables):
        raise ConfigurationError(f"{path} is no journal of ours: move it away")
    if _number(connection, "PRAGMA user_version") > len(schema.migrations):
        raise ConfigurationError(
            f"{path} was written by a newer version of ezlink-async: "
            "pip install --upgrade ezlink-async"
        )


def _bring_up(connection: sqlite3.Connection, schema: Schema) -> None:
    """
    Migrate to the latest version; raise for tables or rows that cannot be used.

    One transaction: a crash or an error leaves the version that was there.
    """
    _migrate(connection, schema)
    if not _tables_of_new(schema) <= _tables(connection):
        raise sqlite3.DatabaseError("it has other tables")
    schema.check_rows(connection)
    if connection.in_transaction:
        connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection, schema: Schema) -> None:
    """Make the changes of all later versions, in a transaction that stays open."""
    version = _number(connection, "PRAGMA user_version")
    latest = len(schema.migrations)
    if version < latest:
        connection.executescript(
            f"BEGIN IMMEDIATE; {' '.join(schema.migrations[version:])} "
            f"PRAGMA user_version = {latest}; "
            f"PRAGMA application_id = {schema.application}"
        )


@functools.cache
def _tables_of_new(schema: Schema) -> frozenset[tuple[str, ...]]:
    with contextlib.closing(_connect("", schema.patience)) as new:
        _migrate(new, schema)
        return _tables(new)


def _tables(connection: sqlite3.Connection) -> frozenset[tuple[str, ...]]:
    return frozenset(
        connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
    )


def _number(connection: sqlite3.Connection, query: str) -> int:
    number: int = connection.execute(query).fetchone()[0]
    return number
