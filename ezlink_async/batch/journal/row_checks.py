"""
Whether each row of a journal can be used: SQLite checks pages and indexes only.

Takes a second or two for 100,000 jobs; making a record of each takes ten.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ezlink_async.batch.journal.jobs import LATEST, JobState, Reason
from ezlink_async.batch.pairs.output_paths import is_below

_Kinds = frozenset[type]

_TEXT, _BYTES, _WHOLE = frozenset({str}), frozenset({bytes}), frozenset({int})
_TIME = frozenset({float})
_PATH = _TEXT | _BYTES
_NONE = frozenset({type(None)})
_OPTIONAL = _TEXT | _NONE

_TABLES: dict[str, dict[str, _Kinds]] = {
    "places": {
        **dict.fromkeys(("same", "place", "wished"), _PATH),
        **dict.fromkeys(("subject", "content"), _BYTES),
        "run": _WHOLE,
    },
    "jobs": {
        **dict.fromkeys(("server", "kind", "request", "label", "family"), _TEXT),
        **dict.fromkeys(("state", "request_ids", "changes"), _TEXT),
        "place": _PATH,
        "unclear": _WHOLE,
        **dict.fromkeys(("task_id", "mark", "error", "reason", "record"), _OPTIONAL),
        **dict.fromkeys(("since", "sent_at", "ended_at"), _TIME | _NONE),
    },
    "inputs": {"job": _WHOLE, "number": _WHOLE, "role": _TEXT, "path": _PATH},
    "outputs": {
        **dict.fromkeys(("job", "number", "size"), _WHOLE),
        "path": _PATH,
        "digest": _BYTES,
    },
    "remarks": {
        "run": _WHOLE,
        **dict.fromkeys(("kind", "label", "error"), _TEXT),
        "reason": _OPTIONAL,
    },
    "remark_inputs": {"remark": _WHOLE, "number": _WHOLE, "role": _TEXT, "path": _PATH},
    "runs": {"started_at": _TIME, "ended_at": _TIME | _NONE, "facts": _TEXT},
}
"""The types of the values in each column."""

_BELOW = (("places", "place"), ("jobs", "place"), ("outputs", "path"))

# Only these are checked one by one: no other path can lead out of a folder.
_UNUSUAL = (
    "typeof({0}) = 'blob' OR {0} = '' OR {0} GLOB '[./]*' OR instr({0}, '..') "
    r"OR instr({0}, '\') OR instr({0}, ':') OR instr({0}, char(0))"
)


def check_rows(connection: sqlite3.Connection) -> None:
    """
    Raise :exc:`sqlite3.DatabaseError` for the first row that cannot be used.

    Paths must not lead out of the output folder: a journal may come from somebody
    else, who must not have files elsewhere written or shown.
    """
    try:
        for table, columns in _TABLES.items():
            _check_types(connection, table, columns)
            _check_columns(connection, table, columns)
        _check_states(connection)
        for (facts,) in _rows(connection, "runs", "facts"):
            _check_facts(facts)
    except sqlite3.OperationalError as fault:
        raise _damage("a text is not UTF-8") from fault


def _rows(
    connection: sqlite3.Connection, table: str, columns: str, where: str = "TRUE"
) -> Iterator[tuple[str, ...]]:
    query = f"SELECT {columns} FROM {table} WHERE {where}"  # noqa: S608 - our own words
    return connection.execute(query)


def _check_types(
    connection: sqlite3.Connection, table: str, columns: dict[str, _Kinds]
) -> None:
    """Check the type of each value; reading them decodes the texts, too."""
    known: set[tuple[type, ...]] = set()
    for row in _rows(connection, table, ", ".join(columns)):
        kinds = tuple(map(type, row))
        if kinds in known:
            continue
        for kind, (column, allowed) in zip(kinds, columns.items(), strict=True):
            if kind not in allowed:
                raise _damage(f"a value of {table}.{column} is a {kind.__name__}")
        known.add(kinds)


def _check_columns(
    connection: sqlite3.Connection, table: str, columns: dict[str, _Kinds]
) -> None:
    """Check the times and paths, by SQLite where it can."""
    for column, allowed in columns.items():
        if float in allowed:
            # The clock of a machine that has just been started may be at 1970.
            least = -LATEST if column == "since" else 0
            beyond = f"{column} NOT BETWEEN {least} AND {LATEST}"
            for (when,) in _rows(connection, table, column, beyond):
                raise _damage(f"{when} is no time")
        elif (table, column) in _BELOW:
            for (path,) in _rows(connection, table, column, _UNUSUAL.format(column)):
                _check_path(os.fsdecode(path))
        # A remark is about an order as it was given, and opens no file.
        elif (table, column) == ("inputs", "path"):
            for _ in _rows(connection, table, "1", f"instr({column}, char(0))"):
                raise _damage(f"a path of {table}.{column} holds a null character")


def _check_path(path: str) -> None:
    if not is_below(Path(path)):
        raise _damage(f"the path {path!r} leads out of the output folder")


def _check_states(connection: sqlite3.Connection) -> None:
    reasons = {None, *Reason}
    for state, reason, changes in _rows(
        connection, "jobs", "DISTINCT state, reason, changes"
    ):
        found = _parsed(changes)
        is_list = isinstance(found, list) and all(isinstance(x, str) for x in found)
        if state not in set(JobState) or reason not in reasons or not is_list:
            raise _damage("the state of a job cannot be read")
    broken = "iif(json_valid(record), json_type(record), '') <> 'object'"
    for _ in _rows(connection, "jobs", "1", f"record IS NOT NULL AND {broken}"):
        raise _damage("the record of a task cannot be read")
    for (reason,) in _rows(connection, "remarks", "DISTINCT reason"):
        if reason not in reasons:
            raise _damage("the reason of a remark cannot be read")


def _check_facts(facts: str) -> None:
    found = _parsed(facts)
    if isinstance(found, dict) and all(isinstance(x, str) for x in found.values()):
        try:
            dollars = float(found.get("charged_usd", "0"))
            int(found.get("accepted", "0"))
        except ValueError:
            pass
        else:
            if math.isfinite(dollars):
                return
    raise _damage("the facts of a run cannot be read")


def _parsed(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _damage(says: str) -> sqlite3.DatabaseError:
    return sqlite3.DatabaseError(says)
