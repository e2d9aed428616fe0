"""
Journals of earlier versions, written by the code of their time.

``python -m tests.support.old_journals`` makes them again, with the package as it was
at the commits named here. Each has one job in each state a run can leave, and the
pictures are those of :mod:`tests.support.pictures`, so they are not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from operator import attrgetter, methodcaller
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "batch" / "journal" / "fixtures"

COMMITS = {1: "5aab7a4^", 2: "e39e1aa^", 3: "ae03b17"}
"""The last commit that wrote each version."""

ALBUM = "/album"
"""The folder of all pictures in these journals."""

SERVER = "https://server.example"

FACE = 3_000
"""The length of the source."""

RESULT = 6_000
"""The length of each saved result."""

OPTIONS = {
    "stripped": {"strip_metadata": True},
    "largest": {"faces": "largest"},
    "both": {"strip_metadata": True, "faces": "largest"},
}
"""The options of the jobs that have any; all else have none."""

TASKS = ("submitted", "succeeded", "damaged", "gone", "failed", "saved")

NAMES = (
    *(*TASKS, "planned", "in_the_way", "budget", "cut_short", "rejected", "unknown"),
    *("sent_twice", "refused_later", "other_tag", *OPTIONS, "m\udcfc", "local"),
)
"""The targets without their suffixes, in the order of the jobs."""


def journal_of(version: int) -> Path:
    """Return the path of the journal of a *version*."""
    return FIXTURES / f"version-{version}.sqlite3"


def length_of(name: str) -> int:
    """Return the length of the target *name*."""
    return 4_001 + NAMES.index(name)


def main() -> None:
    """Write the journals anew."""
    from tests.support.pictures import jpeg

    lengths = [FACE, RESULT, *map(length_of, NAMES)]
    hashes = {n: hashlib.sha256(jpeg(n)).hexdigest() for n in lengths}
    FIXTURES.mkdir(exist_ok=True)
    for version, commit in COMMITS.items():
        with tempfile.TemporaryDirectory() as folder:
            packed = subprocess.run(
                ["git", "archive", commit, "ezlink_async"],  # noqa: S607
                check=True,
                stdout=subprocess.PIPE,
            ).stdout
            subprocess.run(["tar", "-x", "-C", folder], check=True, input=packed)  # noqa: S607
            subprocess.run(
                [sys.executable, __file__, str(journal_of(version))],
                check=True,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": folder},
                input=json.dumps(hashes).encode(),
            )


class _OldJournal:
    """The journal of the package that is on the path, whichever its version is."""

    def __init__(self, path: Path, hashes: Mapping[str, str]) -> None:
        self._jobs = import_module("ezlink_async.batch.journal.jobs")
        self._store = import_module("ezlink_async.batch.journal.store")
        self._hashes = hashes
        self.journal = self._store.Journal.open(path)
        self.run: int = self.journal.start_run(1_000.0)

    def digest(self, length: int) -> bytes:
        """Return the SHA-256 of the picture with this *length*."""
        return bytes.fromhex(self._hashes[str(length)])

    def job(self, name: str) -> int:
        """Add the job of the target *name*, planned; return its number."""
        source, target = Path(f"{ALBUM}/me.jpg"), Path(f"{ALBUM}/photos/{name}.jpg")
        content = self.digest(length_of(name))
        claim = self._store.Claim(source, target, name, content)
        place = self._call("assign_output_path claim", claim, self.run)
        key = self._jobs.JobKey(
            "local" if name == "local" else SERVER,
            self.digest(FACE),
            content,
            json.dumps(OPTIONS.get(name, {})),
            place,
        )
        record = self._call("find_or_add_job job", key, source, target)
        return int(attrgetter("id")(record))

    def submit(self, job: int, tag: str = "tag", when: float = 1_001.0) -> None:
        """Begin a submit of *job*."""
        known = hasattr(self._jobs.Submit, "state_tag")
        named = {"state_tag" if known else "mark": tag}
        self.journal.submitting(
            job,
            self._jobs.Submit(
                request_id=f"request-{job}-{when:.0f}", when=when, since=when, **named
            ),
        )

    def accept(self, job: int) -> None:
        """Submit *job*, and give it an id."""
        self.submit(job)
        self.journal.accepted(job, f"17000000000{job:05}")

    def save(self, job: int, name: str) -> None:
        """Let *job* be saved as *name*."""
        self.accept(job)
        self.journal.succeeded(job, f"{SERVER}/mj/image/17000000000{job:05}", 1_009.5)
        output = self._store.Output(Path(f"{name}.jpg"), RESULT, self.digest(RESULT))
        self.journal.saved(job, output)

    def note(self, method: str, job: int, sentence: str, reason: str = "") -> None:
        """Call *method* with an error, which had no reason in version 1."""
        args: tuple[object, ...] = (1_010.0,) if method == "failed" else ()
        if not hasattr(self._jobs, "Problem"):
            self._call(f"{method} noted", job, sentence, *args)
            return
        known = self._jobs.Reason(reason) if reason else None
        self._call(method, job, self._jobs.Problem(sentence, known), *args)

    def remark(self, name: str, sentence: str) -> None:
        """Add a remark about the target *name*."""
        source, target = Path(f"{ALBUM}/me.jpg"), Path(f"{ALBUM}/photos/{name}.jpg")
        problem: object = sentence
        if hasattr(self._jobs, "Problem"):
            problem = self._jobs.Problem(sentence, self._jobs.Reason("unusable"))
        self._call("add_remark remark", self.run, source, target, problem)

    def _call(self, names: str, *given: object) -> object:
        """Call the method with the first of *names* that this version has."""
        name = next(name for name in names.split() if hasattr(self.journal, name))
        return methodcaller(name, *given)(self.journal)


def _write(old: _OldJournal) -> None:
    jobs = {name: old.job(name) for name in NAMES}
    journal = old.journal
    for name in ("submitted", "succeeded", "gone", "failed"):
        old.accept(jobs[name])
    for name in ("succeeded", "gone"):
        url = f"{SERVER}/mj/image/17000000000{jobs[name]:05}"
        journal.succeeded(jobs[name], url, 1_008.0)
    for name in ("saved", "damaged", *OPTIONS, "m\udcfc"):
        old.save(jobs[name], name)
    journal.prepared(jobs["stripped"], ["position and other metadata left out"])
    journal.damaged(jobs["damaged"])
    gone = "DownloadError: the server no longer has the result (HTTP 404)"
    old.note("note_problem", jobs["gone"], gone, "result_gone")
    old.note("failed", jobs["failed"], "TaskFailedError: no face was found")
    there = f"FileExistsError: {ALBUM}/out/in_the_way.jpg is there already"
    old.note("note_problem", jobs["in_the_way"], there, "exists")
    spent = "BudgetReached: the budget of this run is spent"
    old.note("note_problem", jobs["budget"], spent, "budget")
    old.submit(jobs["rejected"])
    journal.planned(jobs["rejected"], "RejectedError: HTTP 400: banned words")
    old.note("failed", jobs["rejected"], "RejectedError: HTTP 400: banned words")
    for name, tags in (
        ("unknown", ["tag"]),
        ("sent_twice", ["tag", "tag"]),
        ("refused_later", ["tag", "tag"]),
        ("other_tag", ["tag", "tog"]),
    ):
        for number, tag in enumerate(tags):
            old.submit(jobs[name], tag, 1_002.0 + number)
            journal.unknown(jobs[name], "SubmitUnknownError: no answer came")
    journal.planned(jobs["refused_later"], "BusyError: later")
    old.save(jobs["local"], "local")
    old.submit(jobs["cut_short"])
    old.remark("broken", "ImageError: broken.jpg: it is cut off, or broken")
    journal.end_run(old.run, 1_020.0, {"charged_usd": "0.18", "accepted": "10"})


@contextlib.contextmanager
def _opened(path: Path, hashes: Mapping[str, str]) -> Iterator[_OldJournal]:
    path.unlink(missing_ok=True)
    old = _OldJournal(path, hashes)
    with contextlib.closing(old.journal):
        old.journal.begin()
        yield old
        old.journal.commit()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        with _opened(Path(sys.argv[1]), json.load(sys.stdin)) as opened:
            _write(opened)
