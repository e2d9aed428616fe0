"""``ezlink swap`` over several runs: what its options mean, tell, and cost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ezlink_async.batch.journal.lock import FolderLock
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import BatchOptions
from ezlink_async.cli.commands.report import make_report
from ezlink_async.cli.display import Lines
from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.command_line import Ezlink, Tells, home, read_until, start, sums
from tests.support.pictures import jpeg


@pytest.fixture
def command(user: Emulator, photos: Path) -> tuple[object, ...]:
    """Return what swaps the three photos."""
    del user
    return "swap", photos / "me.jpg", photos, "--output", "out", "--concurrency", 2


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def _break_journal(folder: Path, state: str, many: int = 1) -> None:
    """Have so many jobs in *state*, with an id or without, as a kill leaves them."""
    path = folder / ".ezlink" / "journal.sqlite3"
    with closing(sqlite3.connect(path)) as journal, journal:
        journal.execute(
            "UPDATE jobs SET state = :state, "
            "task_id = iif(:state = 'submitted', task_id, NULL) "
            "WHERE id IN (SELECT id FROM jobs LIMIT :many)",
            {"state": state, "many": many},
        )


def _two_folders(here: Path) -> None:
    names = ("faces/a", "faces/b", "photos/a", "photos/b")
    for length, name in enumerate(names, 9_000):
        path = here / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg(length))


# --- --pairs


def test_two_folders_by_name(ezlink: Ezlink, user: Emulator, tmp_path: Path) -> None:
    """Each face goes into the photo of its name; a photo without one has failed."""
    _two_folders(tmp_path)
    (tmp_path / "photos" / "c.jpg").write_bytes(jpeg(9_099))
    said = ezlink(
        "swap", "faces", "photos", "--pairs", "zip", "--output", "out", "--json"
    )
    assert said.summary == sums(succeeded=2, failed=1)
    assert said.code == 1
    assert sorted(path.name for path in Path("out").glob("*.jpg")) == ["a.jpg", "b.jpg"]
    assert len(user.control.charges) == 2


def test_every_face_in_every_photo(
    ezlink: Ezlink, user: Emulator, tmp_path: Path
) -> None:
    """The results of each face are in a folder of its own."""
    _two_folders(tmp_path)
    said = ezlink("swap", "faces", "photos", "--pairs", "product", "--output", "out")
    assert said.code == 0
    found = sorted(str(path) for path in Path("out").rglob("*.jpg"))
    wanted = [f"out/{face}/{photo}.jpg" for face in "ab" for photo in "ab"]
    assert [name for name in found if ".ezlink" not in name][:4] == wanted
    assert len(user.control.charges) == 4


def test_a_manifest_names_the_pictures(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """CSV with a heading; then no pictures are given, or it is refused."""
    Path("list.csv").write_text(
        "source,target,output\n"
        f"{photos}/me.jpg,{photos}/a.jpg,one/x\n"
        f"{photos}/me.jpg,{photos}/b.jpeg,\n"
        f"{photos}/me.jpg,{photos}/none.jpg,\n",
        encoding="utf-8",
    )
    said = ezlink("swap", "--pairs", "list.csv", "--output", "out", "--json")
    assert said.summary == sums(succeeded=2, failed=1)
    assert Path("out/one/x.jpg").exists()
    both = ezlink("swap", photos / "me.jpg", "--pairs", "list.csv", "--output", "out")
    assert both.code == 2
    assert "give no others" in both.err
    none = ezlink("swap", photos / "me.jpg", "--output", "out")
    assert none.code == 2
    assert "at least one TARGET" in none.err
    assert len(user.control.charges) == 2


# --- --existing, --fresh, --dry-run


def test_what_is_there_is_kept_or_replaced(
    ezlink: Ezlink, user: Emulator, command: tuple[object, ...], photos: Path
) -> None:
    """A result of this very job is skipped whatever is asked; another's is not."""
    ezlink(*command)
    assert ezlink(*command, "--existing", "replace", "--json").summary == sums(
        skipped=3
    )
    (photos / "me.jpg").write_bytes(jpeg(21_000))
    kept = ezlink(*command, "--json")
    assert kept.code == 1
    assert kept.summary == sums(skipped=3)
    assert "is there already" in kept.err
    assert len(user.control.charges) == 3
    assert ezlink(*command, "--existing", "replace").code == 0
    assert len(user.control.charges) == 6


def test_fresh_begins_anew_and_moves_the_journal_aside(
    ezlink: Ezlink, user: Emulator, command: tuple[object, ...]
) -> None:
    """Each time under another name; all is swapped and replaced."""
    assert ezlink(*command, "--fresh").code == 0
    for number in (1, 2):
        assert ezlink(*command, "--fresh").code == 0
        assert Path(f"out/.ezlink/journal-{number}.sqlite3").exists()
    assert len(user.control.charges) == 9


@pytest.mark.parametrize("state", ["submitted", "submitting", "unknown"])
def test_fresh_is_refused_while_something_is_open(
    ezlink: Ezlink, user: Emulator, command: tuple[object, ...], state: str
) -> None:
    """It lists what would be forgotten, and changes nothing."""
    ezlink(*command)
    _break_journal(Path("out"), state, 2)
    before = len(user.control.attempts)
    said = ezlink(*command, "--fresh")
    assert said.code == 2
    words = "is not brought home" if state == "submitted" else "may have been paid"
    assert said.err.count(words) == 2
    assert "run the command without it first" in said.err
    assert Path("out/.ezlink/journal.sqlite3").exists()
    assert len(user.control.attempts) == before


def test_fresh_counts_all_that_is_open_and_nothing_of_the_built_in_server(
    ezlink: Ezlink, user: Emulator, command: tuple[object, ...]
) -> None:
    """An id among very many is not overlooked."""
    ezlink(*command, "--no-report")
    with closing(sqlite3.connect("out/.ezlink/journal.sqlite3")) as journal, journal:
        columns = (
            "source_hash, target_hash, options, source, target, request_ids, changes"
        )
        for number in range(1_200):
            server = "local" if number < 600 else "https://elsewhere.example"
            state = "submitted" if number % 600 < 599 else "unknown"
            journal.execute(
                f"INSERT INTO jobs (server, place, state, task_id, {columns}) "  # noqa: S608
                f"SELECT ?, ?, ?, '7', {columns} FROM jobs WHERE id = 1",
                (server, f"x{number}", state),
            )
    journal.close()
    said = ezlink(*command, "--fresh")
    assert said.code == 2
    assert said.err.count("is not brought home") == 10
    assert "and 590 more" in said.err
    del user


def test_a_dry_run_leaves_no_trace(
    ezlink: Ezlink, user: Emulator, command: tuple[object, ...], photos: Path
) -> None:
    """No folder, no request; what is there stays as it is, byte for byte."""
    said = ezlink(*command, "--dry-run")
    assert said.code == 0
    assert not Path("out").exists()
    assert "3 swaps would be paid for" in said.err
    ezlink(*command)
    (photos / "new.jpg").write_bytes(jpeg(22_000))
    (photos / "newer.jpg").write_bytes(jpeg(22_001))
    _break_journal(Path("out"), "unknown")
    Path("out/b.jpg").unlink()
    before, seen = _tree(Path("out")), len(user.control.requests)
    said = ezlink(*command, "--dry-run", "--json")
    assert _tree(Path("out")) == before
    assert len(user.control.requests) == seen
    assert "2 swaps would be paid for" in said.err
    statuses = sorted(str(row["status"]) for row in said.rows[:-1])
    assert statuses == ["planned", "planned", "planned", "skipped", "unknown"]
    tight = ezlink(*command, "--dry-run", "--budget", 1)
    assert "the budget leaves out 1 of them" in tight.err
    assert "1 swaps would be paid for" in tight.err
    anew = ezlink(*command, "--dry-run", "--fresh")
    assert "5 swaps would be paid for" in anew.err
    assert _tree(Path("out")) == before


# --- one run at a time


def test_a_second_run_in_the_folder_is_refused(
    ezlink: Ezlink, user: Emulator, command: tuple[object, ...]
) -> None:
    """With one sentence, and nothing sent."""
    Path("out/.ezlink").mkdir(parents=True)
    lock = FolderLock(Path("out/.ezlink/lock"))
    for more in ((), ("--fresh",), ("--json",)):
        said = ezlink(*command, *more)
        assert said.code == 2
        assert "another run is at work in out: wait for it, or end it" in said.err
    lock.close()
    assert not user.control.attempts
    assert ezlink(*command).code == 0


# --- failures


def test_what_the_server_failed_is_sent_again_on_demand(
    ezlink: Ezlink, user: Emulator, command: tuple[object, ...]
) -> None:
    """And only those."""
    user.control.script_tasks(scripts.fails())
    assert ezlink(*command).code == 1
    plain = ezlink(*command, "--json")
    assert plain.code == 1
    assert plain.summary == sums(skipped=2, failed=1)
    assert ezlink(*command, "--retry-failed", "--json").summary == sums(
        succeeded=1, skipped=2
    )
    assert len(user.control.tasks) == 4


def test_unknowns_are_listed_until_they_are_paid_again_on_demand(
    ezlink: Ezlink, user: Emulator, command: tuple[object, ...], photos: Path
) -> None:
    """In every run in the folder, with the request's id."""
    user.control.script("submit", faults.Drop(job=True))
    ezlink(*command)
    other = ezlink("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out")
    again = ezlink(*command)
    for said in (other, again):
        assert said.code == 1
        assert "1 may have been paid; ask before you swap again" in said.err
        assert "(request id: " in said.err
    asked = ezlink(*command, "--resubmit-unknown", "--json")
    assert asked.code == 0
    assert asked.summary == sums(succeeded=1, skipped=2)
    assert len(user.control.charges) == 4


@pytest.mark.parametrize(
    ("option", "word"), [("--budget", "budget"), ("--max-failures", "TooManyFailures")]
)
def test_what_is_left_over_says_why(
    ezlink: Ezlink, user: Emulator, command: tuple[object, ...], option: str, word: str
) -> None:
    """Exit 1, and the command to go on with."""
    if word != "budget":
        user.control.script("submit", faults.banned_word())
    said = ezlink(*command[:-1], 1, option, 1)
    assert said.code == 1
    assert "2 not swapped: " in said.err
    assert word in said.err
    assert said.err.splitlines()[-1].startswith("go on with: ezlink swap ")


# --- money


def test_what_was_charged_is_told_at_the_end(
    ezlink: Ezlink, user: Emulator, command: tuple[object, ...]
) -> None:
    """In words, in the report, and as numbers; the dollars include a lost payment."""
    user.control.script("submit", faults.Delay(0), faults.Drop(job=True))
    said = ezlink(*command)
    sentence = "charged by the server: 0.054 USD; 2 jobs accepted"
    assert sentence in said.err
    assert sentence in Path("out/report.html").read_text(encoding="utf-8")
    again = ezlink(*command, "--resubmit-unknown", "--json")
    last = again.rows[-1]["summary"]
    assert isinstance(last, dict)
    assert (last["charged_usd"], last["accounted"]) == (0.018, 1)


def test_where_the_key_tells_nothing_nothing_is_said(
    ezlink: Ezlink, user: Emulator, command: tuple[object, ...]
) -> None:
    """The summary has the numbers it always had."""
    user.control.standing("usage", faults.Answer(404, "nothing here"))
    said = ezlink(*command, "--json")
    assert said.summary == sums(succeeded=3)
    assert "charged" not in said.err


# --- the report


def test_the_report_is_made_again_from_the_journal(
    ezlink: Ezlink, user: Emulator, command: tuple[object, ...], tmp_path: Path
) -> None:
    """``ezlink report DIR`` prints where it is; without a journal it says so."""
    ezlink(*command, "--no-report")
    page = Path("out/report.html")
    assert not page.exists()
    said = ezlink("report", "out")
    assert (said.code, said.out) == (0, f"{page.absolute()}\n")
    assert page.exists()
    nothing = ezlink("report", tmp_path / "photos")
    assert nothing.code == 2
    assert "there is no journal of a batch in" in nothing.err
    page.unlink()
    page.mkdir()
    blocked = ezlink("report", "out")
    assert blocked.code == 2
    assert "no report can be written in out" in blocked.err
    spoils = ezlink(*command)
    assert spoils.code == 0
    assert "there is no report: " in spoils.err
    del user


# --- interrupts


def test_an_interrupt_while_it_begins_sends_nothing(
    user: Emulator, photos: Path
) -> None:
    """Though it is not known yet what the key had spent before."""
    asked = Tells(then=faults.Delay(1.0))
    user.control.script("usage", asked)
    with start("swap", photos / "me.jpg", photos, "--output", "out") as process:
        asked.wait()
        process.send_signal(2)
        read_until(process.stderr, "nothing more is sent")
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "3 not swapped: Interrupted: nothing was sent" in err
    assert f"go on with: ezlink swap {photos / 'me.jpg'}" in err
    assert not user.control.attempts


def test_two_interrupts_while_it_begins_leave_at_once(
    user: Emulator, photos: Path
) -> None:
    """Each target is told all the same: nothing was sent."""
    asked = Tells(then=faults.Stall())
    user.control.script("usage", asked)
    with start("swap", photos / "me.jpg", photos, "--output", "out") as process:
        asked.wait()
        process.send_signal(2)
        read_until(process.stderr, "nothing more is sent")
        process.send_signal(2)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "3 not swapped: Interrupted: nothing was sent" in err
    assert not user.control.attempts


def test_a_dry_run_of_the_built_in_server(
    ezlink: Ezlink, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not even started, and needs no key."""
    home(monkeypatch, tmp_path)
    command = ("swap", photos / "me.jpg", photos, "--output", "out", "--local")
    said = ezlink(*command, "--dry-run")
    assert (said.code, said.out.count("send ")) == (0, 3)
    assert not Path("out").exists()


def test_what_was_interrupted_comes_home_with_the_same_command(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """The last line is the command; it pays nothing twice."""
    looked = Tells()
    user.control.script("fetch", looked)
    user.control.script_tasks(scripts.slow(600))
    command = ("swap", photos / "me.jpg", photos, "--output", "out")
    with start(*command, "--concurrency", 1) as process:
        looked.wait()
        process.send_signal(2)
        read_until(process.stderr, "nothing more is sent")
        process.send_signal(2)
        _, err = process.communicate(timeout=60)
    (last,) = [line for line in err.splitlines() if line.startswith("go on with: ")]
    words = last.removeprefix("go on with: ezlink ").split()
    user.control.advance(600)
    said = ezlink(*words, "--json")
    assert said.code == 0
    assert said.summary == sums(succeeded=3)
    assert len(user.control.charges) == 3


class _Told(Lines):
    """A display that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, line: str, style: str = "") -> None:
        """Remember it."""
        del style
        self.notes.append(line)


class _Interrupted(BatchOptions):
    """Options of somebody who presses Ctrl-C when the report is made."""

    @property
    def journal_path(self) -> Path:
        """Be interrupted."""
        raise KeyboardInterrupt


def test_an_interrupt_leaves_the_report_out(tmp_path: Path) -> None:
    """It takes a while for many photos, and can be made later."""
    display = _Told()
    make_report(_Interrupted(output=tmp_path), display, 200)
    assert display.notes == [
        "making the report (Ctrl-C leaves it out)",
        f"the report was left out; make it with: ezlink report {tmp_path}",
    ]


def test_a_report_of_a_journal_without_a_run(ezlink: Ezlink, user: Emulator) -> None:
    """An empty page is better than an error."""
    del user
    path = Path("out/.ezlink/journal.sqlite3")
    path.parent.mkdir(parents=True)
    Journal.open(path).close()
    assert ezlink("report", "out").code == 0


def test_what_is_sent_without_metadata_is_told(
    ezlink: Ezlink, user: Emulator, tmp_path: Path
) -> None:
    """The journal knows what was changed about each picture."""
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[0x010F] = "a camera"
    for name, colour in (("me.jpg", "red"), ("a.jpg", "blue")):
        image.new("RGB", (64, 64), colour).save(tmp_path / name, exif=exif)
    command = ("swap", "me.jpg", "a.jpg", "--output", "out", "--strip-metadata")
    said = ezlink(*command, "--json")
    assert said.summary == sums(succeeded=1), said.out
    path = tmp_path / "out/.ezlink/journal.sqlite3"
    with closing(sqlite3.connect(path)) as journal, journal:
        (row,) = journal.execute("SELECT options, changes FROM jobs").fetchall()
    journal.close()
    assert "strip_metadata" in row[0]
    assert row[1] not in {None, "[]"}
    assert len(user.control.charges) == 1
