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

MIXED = 4  # rows of a round: an imagine with a button, a describe, a shorten, a swap


@attrs.define
class MixedJobs(SwapCommand):
    """Rows of a manifest, in rounds of :data:`MIXED`; *photos* is their number."""

    program: tuple[str, ...] = ("-m", "tests.kills.manifest")

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
            ]
        manifest = self.folder / "jobs.jsonl"
        manifest.write_text("\n".join(map(json.dumps, rows)))

    @property
    def jobs(self) -> int:
        """The number of jobs, with those of the buttons."""
        return self.photos * (MIXED + 1)

    def right(self) -> int:
        """
        Return how many results are saved, each the server's own of its own task.

        A swap is checked by the pictures that it was made of.
        """
        tasks = {task.task_id: task for task in self.server.control.tasks}
        good = 0
        for job in self._saved():
            path = self.folder / "out" / str(job["path"])
            task = tasks[str(job["task_id"])]
            request = json.loads(str(job["request"]))
            if job["kind"] == "swap":
                hashes = read_hashes(path.read_bytes())
                good += hashes == (request["source"], request["target"])
            elif path.suffix == ".txt":
                record = json.loads(str(job["record"]))
                text = record["properties"]["final_prompt"] or record["prompt_en"]
                good += path.read_text().rstrip("\n") == text.rstrip("\n")
            else:
                prompt = request.get("prompt") or request["parent"]["prompt"]
                is_own = task.prompt.startswith(prompt)
                good += is_own and path.read_bytes() == self._picture(task.task_id)
        return good

    def _saved(self) -> list[sqlite3.Row]:
        path = self.folder / "out" / ".ezlink" / "journal.sqlite3"
        with contextlib.closing(sqlite3.connect(path)) as journal:
            journal.row_factory = sqlite3.Row
            return journal.execute(
                "SELECT jobs.*, path FROM jobs JOIN outputs ON job = jobs.id "
                "WHERE state = 'saved'"
            ).fetchall()

    def _picture(self, task_id: str) -> bytes:
        url = f"{self.server.base_url}/mj/image/{task_id}"
        with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own server
            content: bytes = answer.read()
        return content


def _unique_png(number: int) -> bytes:
    """Return a picture that the server can describe, with content of its own."""
    whole = png()
    note = chunk(b"tEXt", b"number\0%d" % number)
    at = whole.rindex(chunk(b"IEND", b""))
    return whole[:at] + note + whole[at:]
