"""The SQLite file: after a power cut, damaged, in use, of another version."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from ezlink_async.batch.journal.sqlite import Schema, open_copy, open_database
from ezlink_async.errors import ConfigurationError
from tests.support.processes import holding

FIRST = "CREATE TABLE things (name TEXT);"
SECOND = "ALTER TABLE things ADD COLUMN size INTEGER; UPDATE things SET size = 1;"
SCHEMA = Schema(0x7357, (FIRST,))
IMPATIENT = Schema(0x7357, (FIRST,), patience=0.01)
NEWER = Schema(0x7357, (FIRST, SECOND))

LOCKING = pytest.mark.parametrize("locking", [True, False])

posix = pytest.mark.skipif(os.name == "nt", reason="another kind of file system")


def _made(path: Path, *names: str) -> Path:
    with contextlib.closing(open_database(path, SCHEMA)) as sql:
        sql.executemany("INSERT INTO things VALUES (?)", [(name,) for name in names])
    return path


def _names(sql: sqlite3.Connection) -> list[str]:
    return [row[0] for row in sql.execute("SELECT name FROM things")]


def _pragma(sql: sqlite3.Connection, name: str) -> object:
    return sql.execute(f"PRAGMA {name}").fetchone()[0]


def _crashed(path: Path) -> Path:
    """Return a copy of a file as a crash leaves it, with a log beside it."""
    with contextlib.closing(open_database(path, SCHEMA)) as sql:
        sql.execute("INSERT INTO things VALUES ('late')")
        shutil.copytree(path.parent, path.parent.with_name("crashed"))
    return path.parent.with_name("crashed") / path.name


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Make a file with one thing in it."""
    return _made(tmp_path / "folder" / "journal.sqlite3", "one")


@LOCKING
def test_the_settings_that_survive_a_power_cut_are_in_force(
    journal: Path, *, locking: bool
) -> None:
    """With locks and without, for a new file and an old one."""
    for path in (journal, journal.with_name("new")):
        with contextlib.closing(open_database(path, SCHEMA, locking=locking)) as sql:
            assert _pragma(sql, "journal_mode") == "wal"
            assert _pragma(sql, "synchronous") == 2
            assert _pragma(sql, "fullfsync") == 1
            assert _pragma(sql, "checkpoint_fullfsync") == 1
            assert _pragma(sql, "locking_mode") == "exclusive"
            sql.execute("INSERT INTO things VALUES ('x')")
            # Shared memory is not needed.
            assert not path.with_name(f"{path.name}-shm").exists()


@LOCKING
def test_commits_before_a_crash_are_there(journal: Path, *, locking: bool) -> None:
    path = _crashed(journal)
    with contextlib.closing(open_database(path, SCHEMA, locking=locking)) as sql:
        assert _names(sql) == ["one", "late"]


def test_an_older_file_is_migrated_once(journal: Path) -> None:
    for _ in range(2):
        with contextlib.closing(open_database(journal, NEWER)) as sql:
            rows = sql.execute("SELECT name, size FROM things").fetchall()
            assert rows == [("one", 1)]
            assert _pragma(sql, "user_version") == 2


def test_a_failed_migration_leaves_the_old_version(journal: Path) -> None:
    broken = Schema(0x7357, (FIRST, f"{SECOND} DROP TABLE nowhere;"))
    with pytest.raises(ConfigurationError, match="cannot be used: no such table"):
        open_database(journal, broken)
    with contextlib.closing(open_database(journal, SCHEMA)) as sql:
        assert _pragma(sql, "user_version") == 1
        assert [row[1] for row in sql.execute("PRAGMA table_info(things)")] == ["name"]
    with contextlib.closing(open_database(journal, NEWER)) as sql:
        assert _names(sql) == ["one"]


def test_a_newer_file_is_refused_and_not_changed(journal: Path) -> None:
    open_database(journal, NEWER).close()
    before = journal.read_bytes()
    for way in (open_database, open_copy):
        with pytest.raises(ConfigurationError, match=r"by a newer version .* --up"):
            way(journal, SCHEMA)
    assert journal.read_bytes() == before


@pytest.mark.parametrize("application", [0, 99])
def test_a_file_of_another_application_is_not_changed(
    tmp_path: Path, application: int
) -> None:
    """Also if it does not name its application."""
    path = tmp_path / "places.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as sql:
        sql.execute("CREATE TABLE moz_places (url)")
        sql.execute(f"PRAGMA application_id = {application}")
        sql.commit()
    before = path.read_bytes()
    for way in (open_database, open_copy):
        with pytest.raises(ConfigurationError, match="is no journal of ours"):
            way(path, SCHEMA)
    assert path.read_bytes() == before


def _flipped(content: bytes) -> bytes:
    """Return *content* with the head of its second page destroyed."""
    destroyed = bytes(byte ^ 0xFF for byte in content[4096:4300])
    return content[:4096] + destroyed + content[4300:]


@pytest.mark.parametrize(
    "damage",
    [
        _flipped,
        lambda content: content[:4096],
        lambda content: content[:5000],
        lambda content: bytes(16) + content[16:],
        lambda _: b"Dear diary,\n" * 100,
        lambda _: b"x" * 50,
    ],
    ids=["flipped", "page lost", "half a page", "no head", "text", "one line"],
)
def test_a_damaged_file_is_a_configuration_error(
    journal: Path, damage: type[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    """It has one line and no traceback, and the file is not changed."""
    content = damage(journal.read_bytes())
    journal.write_bytes(content)
    for way in (open_database, open_copy):
        with pytest.raises(ConfigurationError, match="is damaged") as caught:
            way(journal, SCHEMA)
        assert "\n" not in str(caught.value)
        assert caught.value.__suppress_context__
    assert journal.read_bytes() == content
    assert capfd.readouterr() == ("", "")


def test_a_damaged_log_loses_the_last_commits_only(journal: Path) -> None:
    path = _crashed(journal)
    log = path.with_name(f"{path.name}-wal")
    log.write_bytes(log.read_bytes()[:-100])
    with contextlib.closing(open_database(path, SCHEMA)) as sql:
        assert _names(sql) == ["one"]


_HOLD = """
import sqlite3, sys
sql = sqlite3.connect(sys.argv[1], isolation_level=None)
sql.execute('PRAGMA locking_mode = EXCLUSIVE')
sql.execute('PRAGMA journal_mode = WAL')
sql.execute("INSERT INTO things VALUES ('theirs')")
"""


def test_a_file_in_use_is_a_configuration_error(journal: Path) -> None:
    """For a copy too, which does not wait endlessly."""
    with holding(_HOLD, journal):
        for way in (open_database, open_copy):
            with pytest.raises(ConfigurationError, match="another run or program is"):
                way(journal, IMPATIENT)
    with contextlib.closing(open_database(journal, SCHEMA)) as sql:
        assert _names(sql) == ["one", "theirs"]


@posix
@pytest.mark.parametrize(
    "name",
    [
        "what?mode=ro",
        "a#b",
        "100%25",
        "a b",
        "m\udcfc",
        "\u65c5\u884c",
        "'\"",
        "x" * 240,
    ],
)
@LOCKING
def test_a_file_of_any_name_opens(tmp_path: Path, name: str, *, locking: bool) -> None:
    path = tmp_path / name / "journal"
    with contextlib.closing(open_database(path, SCHEMA, locking=locking)) as sql:
        sql.execute("INSERT INTO things VALUES ('here')")
    assert list(path.parent.iterdir()) == [path]
    with contextlib.closing(open_copy(path, SCHEMA)) as sql:
        assert _names(sql) == ["here"]


@posix
def test_a_path_may_begin_with_two_slashes(journal: Path) -> None:
    with contextlib.closing(open_database(Path(f"/{journal}"), SCHEMA)) as sql:
        assert _names(sql) == ["one"]


def test_a_path_that_cannot_be_opened_is_a_configuration_error(tmp_path: Path) -> None:
    """A file in place of a folder, a folder in place of the file, a name too long."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match=r"cannot be used: (File|Not)"):
        open_database(tmp_path / "file" / "journal", SCHEMA)
    (tmp_path / "journal").mkdir()
    for way in (open_database, open_copy):
        with pytest.raises(ConfigurationError, match="cannot be used: "):
            way(tmp_path / "journal", SCHEMA)
    with pytest.raises(ConfigurationError, match="cannot be used: File name too long"):
        open_copy(tmp_path / ("x" * 300), SCHEMA)


def _folder(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.parent.iterdir()}


def test_a_copy_changes_no_file(journal: Path) -> None:
    for path in (_crashed(journal), journal):
        before = _folder(path)
        with contextlib.closing(open_copy(path, NEWER)) as sql:
            sql.execute("INSERT INTO things VALUES ('rehearsed', 2)")
            assert _names(sql)[0] == "one"
            assert _names(sql)[-1] == "rehearsed"
        assert _folder(path) == before


def test_a_copy_leaves_the_shared_memory_of_another_program(journal: Path) -> None:
    path = _crashed(journal)
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert _names(other) == ["one", "late"]
        with contextlib.closing(open_copy(path, SCHEMA)) as sql:
            assert _names(sql) == ["one", "late"]
        assert path.with_name(f"{path.name}-shm").exists()


def test_a_copy_of_no_file_is_empty(tmp_path: Path) -> None:
    for path in (None, tmp_path / "folder" / "journal"):
        with contextlib.closing(open_copy(path, SCHEMA)) as sql:
            assert _names(sql) == []
    assert not list(tmp_path.iterdir())
