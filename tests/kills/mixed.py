"""Jobs of several kinds that are killed again and again, and what came of each."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import urllib.request

import attrs

from ezlink_async.emulator import read_hashes
from tests.kills.command import SwapCommand
from tests.support.pictures import chunk, png

MIXED = 7
"""Rows of a round: an imagine with a button, one of each other kind."""

_DOUBAO = "doubao-seedance-1-0-lite"

_LINKED = {"video", "flux", "image"}  # their records say where the results are


@attrs.define
class MixedJobs(SwapCommand):
    """Rows of a manifest, in rounds of :data:`MIXED`; *photos* is their number."""

    program: tuple[str, ...] = ("-m", "tests.kills.manifest")
    _linked: list[bytes] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        pictures = sorted((self.folder / "photos").rglob("*.jpg"))
        rows: list[dict[str, object]] = []
        for number, photo in enumerate(pictures):
            described = photo.with_suffix(".png")
            described.write_bytes(_unique_png(number))
            rows += [
                {"kind": "imagine", "prompt": f"fox {number}", "then": ["U2"]},
                {"kind": "describe", "image": str(described), "output": f"d{number}"},
                {"kind": "shorten", "prompt": f"the words {number}"},
                {"kind": "swap", "source": "me.jpg", "target": str(photo)},
                {"kind": "video", "model": _DOUBAO, "prompt": f"clip {number}"},
                {"kind": "flux", "model": "flux-2-pro", "prompt": f"sketch {number}"},
                {"kind": "image", "model": "wanx", "prompt": f"view {number}", "n": 2},
            ]
        manifest = self.folder / "jobs.jsonl"
        manifest.write_text("\n".join(map(json.dumps, rows)))

    @property
    def jobs(self) -> int:
        """The number of jobs, with those of the buttons."""
        return self.photos * (MIXED + 1)

    def right(self) -> int:
        """
        Return how many jobs are saved, with the server's own results of their tasks.

        A swap is checked by the pictures that it was made of.
        """
        self._linked.clear()
        jobs: dict[int, list[sqlite3.Row]] = {}
        for row in self._saved():
            jobs.setdefault(row["id"], []).append(row)
        good = [self._is_right(rows) for rows in jobs.values()]
        contents = [each for each in self._linked if each]
        assert len(set(contents)) == len(contents)  # each has a prompt of its own
        return sum(good)

    def _is_right(self, rows: list[sqlite3.Row]) -> bool:
        job, paths = rows[0], [self.folder / "out" / str(row["path"]) for row in rows]
        request, record = json.loads(job["request"]), json.loads(job["record"])
        content = paths[0].read_bytes()
        if job["kind"] == "swap":
            return read_hashes(content) == (request["source"], request["target"])
        if job["kind"] in _LINKED:
            found = [_at(url) for url in _urls(job["record"])]
            self._linked += found
            return found == [path.read_bytes() for path in paths]
        if paths[0].suffix == ".txt":
            text = record["properties"]["final_prompt"] or record["prompt_en"]
            return paths[0].read_text().rstrip("\n") == str(text).rstrip("\n")
        task = next(t for t in self.server.control.tasks if t.task_id == job["task_id"])
        prompt = request.get("prompt") or request["parent"]["prompt"]
        own = _at(f"{self.server.base_url}/mj/image/{job['task_id']}")
        return task.prompt.startswith(prompt) and content == own

    def _saved(self) -> list[sqlite3.Row]:
        path = self.folder / "out" / ".ezlink" / "journal.sqlite3"
        with contextlib.closing(sqlite3.connect(path)) as journal:
            journal.row_factory = sqlite3.Row
            return journal.execute(
                "SELECT jobs.*, path FROM jobs JOIN outputs ON job = jobs.id "
                "WHERE state = 'saved'"
            ).fetchall()


def _urls(content: str) -> list[str]:
    """Return the addresses in the record of a video or of pictures."""
    record = json.loads(content)
    results = record.get("results") or [record]
    urls: list[str] = record.get("urls") or [each["url"] for each in results]
    return urls


def _at(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own server
        content: bytes = answer.read()
    return content


def _unique_png(number: int) -> bytes:
    """Return a picture that the server can describe, with content of its own."""
    whole = png()
    note = chunk(b"tEXt", b"number\0%d" % number)
    at = whole.rindex(chunk(b"IEND", b""))
    return whole[:at] + note + whole[at:]
