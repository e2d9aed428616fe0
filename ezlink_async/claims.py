"""Which pair has which place for its result, in this run and in those before."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import attrs

from ezlink_async.jobs import same
from ezlink_async.schema import kept


@attrs.frozen
class Claim:
    """A place that is *wished* for the result of a pair; *content* is the target's."""

    source: Path
    target: Path
    wished: str
    content: bytes


def place_for(sql: sqlite3.Connection, claim: Claim, run: int) -> str:
    """
    Return the place for a result, relative to the folder, and note it.

    A pair keeps the place it once had, and a picture that was moved takes
    its place along. Where several would become one file in this *run*, the
    later ones get ``-2``, ``-3``.
    """
    names, now = (kept(claim.source), kept(claim.target)), (claim.content, run)
    found = sql.execute(
        "UPDATE places SET content = ?, run = ? WHERE source = ? AND target = ? "
        "AND wished = ? RETURNING place",
        (*now, *names, kept(claim.wished)),
    ).fetchall()
    if found:
        return os.fsdecode(found[0]["place"])
    place = next(
        place for place in _numbered(claim.wished) if _is_free(sql, place, claim, run)
    )
    sql.execute(
        "INSERT OR REPLACE INTO places (same, place, wished, source, target, "
        "content, run) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*map(kept, (same(place), place, claim.wished)), *names, *now),
    )
    return place


def _is_free(sql: sqlite3.Connection, place: str, claim: Claim, run: int) -> bool:
    """
    Return whether *place* is nobody's in this *run*, and nobody else's before.

    The same picture under another name was moved; the same name with
    another source is what ``existing`` is about.
    """
    owner = sql.execute(
        "SELECT content, target, wished, run FROM places WHERE same = ?",
        (kept(same(place)),),
    ).fetchone()
    if owner is None:
        return True
    moved = owner["content"] == claim.content
    ours = owner["target"] == kept(claim.target) and owner["wished"] == kept(
        claim.wished
    )
    return bool((moved or ours) and owner["run"] != run)


def _numbered(wished: str) -> Iterator[str]:
    number, place = 1, wished
    while True:
        yield place
        number, place = number + 1, f"{wished}-{number + 1}"
