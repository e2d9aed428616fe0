"""
The rows of a manifest: CSV with a heading, or JSON Lines, each with its line number.

Lazy, so that a file of any length takes the memory of one row.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeGuard

from ezlink_async.errors import ConfigurationError

TABLES = frozenset({".csv", ".tsv"})
"""The suffixes of tables; any other file has a JSON object in each line."""

_SEPARATORS = ",;\t"  # spreadsheets do not agree on the character between columns


def read_rows(
    path: Path, fits: Callable[[list[str]], str | None]
) -> Iterator[tuple[int, object]]:
    """
    Yield the rows of the file at *path*, each with the number of its line.

    *fits* says why the names of the columns are wrong, ``None`` if they are right.
    Raises :exc:`ConfigurationError` for a file that cannot be read, a wrong heading
    and a line that is no JSON.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from _rows(path, stream, fits)
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise ConfigurationError(
            f"the manifest {path} cannot be read: {fault}"
        ) from None


def _rows(
    path: Path, lines: Iterable[str], fits: Callable[[list[str]], str | None]
) -> Iterator[tuple[int, object]]:
    if path.suffix.lower() in TABLES:
        lines = iter(lines)
        heading = next(lines, "")
        separator = _separator(path, heading, fits)
        reader = csv.DictReader(itertools.chain([heading], lines), delimiter=separator)
        yield from ((reader.line_num, row) for row in reader)
        return
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                raise wrong(path, number, "this is no JSON") from None


def _separator(
    path: Path, heading: str, fits: Callable[[list[str]], str | None]
) -> str:
    """Return the character between the columns."""
    columns = {
        separator: next(csv.reader([heading], delimiter=separator), [])
        for separator in _SEPARATORS
    }
    for separator, names in columns.items():
        if fits(names) is None:
            return separator
    longest = max(columns.values(), key=len)
    raise wrong(path, 1, f"{fits(longest)}, and is {heading.strip()!r:.80}")


def is_path(value: object) -> TypeGuard[str]:
    """Return whether *value* is text that can be a path."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        return bool(os.fsencode(value))
    except UnicodeEncodeError:  # half a character, which JSON can say
        return False


def wrong(path: Path, number: int, says: str) -> ConfigurationError:
    """Return the error about one line of a manifest."""
    return ConfigurationError(f"{path}, line {number}: {says}")
