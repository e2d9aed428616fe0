"""``ezlink swap`` over several runs: what its options do, and what they cost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ezlink_async.batch.journal.lock import FolderLock
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import BatchOptions
from ezlink_async.cli.commands.report import make_report
from ezlink_async.cli.display import Display
from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.command_line import FACES, Ezlink, sums
from tests.support.pictures import jpeg

Command = tuple[object, ...]


@pytest.fixture
def command(user: Emulator, three: Command) -> Command:
    """Return the command that swaps the three photos."""
    del user
    return *three, "--concurrency", 2


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def _break_journal(state: str, many: int = 1) -> None:
    """Have *many* jobs in *state*, with an id or without, as a kill leaves them."""
    path = Path("out/.ezlink/journal.sqlite3")
    with closing(sqlite3.connect(path)) as journal, journal:
        journal.execute(
            "UPDATE jobs SET state = :state, "
            "task_id = iif(:state = 'submitted', task_id, NULL) "
            "WHERE id IN (SELECT id FROM jobs LIMIT :many)",
            {"state": state, "many": many},
        )


def _make_two_folders() -> None:
    for length, name in enumerate(
        ("faces/a", "faces/b", "photos/a", "photos/b"), 9_000
    ):
        path = Path(f"{name}.jpg")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg(length))


# --- --pairs


def test_zip_swaps_each_face_into_the_photo_of_its_name(
    ezlink: Ezlink, user: Emulator
) -> None:
    """A photo without a face of its name has failed."""
    _make_two_folders()
    Path("photos/c.jpg").write_bytes(jpeg(9_099))
    said = ezlink(
        "swap", "faces", "photos", "--pairs", "zip", "--output", "out", "--json"
    )
    assert (said.code, said.summary) == (1, sums(succeeded=2, failed=1))
    assert sorted(path.name for path in Path("out").glob("*.jpg")) == ["a.jpg", "b.jpg"]
    assert len(user.control.charges) == 2


def test_product_saves_the_results_of_each_face_in_a_folder_of_its_own(
    ezlink: Ezlink, user: Emulator
) -> None:
    _make_two_folders()
    said = ezlink("swap", "faces", "photos", "--pairs", "product", "--output", "out")
    assert said.code == 0
    found = sorted(str(path) for path in Path("out").rglob("*.jpg"))
    wanted = [f"out/{face}/{photo}.jpg" for face in "ab" for photo in "ab"]
    assert [name for name in found if ".ezlink" not in name] == wanted
    assert len(user.control.charges) == 4


def test_manifest_names_all_pictures(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """Pictures beside a manifest are refused, and so is a source without targets."""
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


def test_existing_picture_is_skipped_or_replaced(
    ezlink: Ezlink, user: Emulator, command: Command, photos: Path
) -> None:
    """A result of the very same job is skipped even with ``--existing replace``."""
    ezlink(*command)
    assert ezlink(*command, "--existing", "replace", "--json").summary == sums(
        skipped=3
    )
    (photos / "me.jpg").write_bytes(jpeg(21_000))
    kept = ezlink(*command, "--json")
    assert (kept.code, kept.summary) == (1, sums(skipped=3))
    assert "the source has changed since: --existing replace" in kept.err
    assert len(user.control.charges) == 3
    assert ezlink(*command, "--existing", "replace").code == 0
    assert len(user.control.charges) == 6


def test_fresh_archives_the_journal_and_swaps_all_again(
    ezlink: Ezlink, user: Emulator, command: Command
) -> None:
    """Each archived journal has a name of its own."""
    assert ezlink(*command, "--fresh").code == 0
    for number in (1, 2):
        assert ezlink(*command, "--fresh").code == 0
        assert Path(f"out/.ezlink/journal-{number}.sqlite3").exists()
    assert len(user.control.charges) == 9


@pytest.mark.parametrize("state", ["submitted", "submitting", "unknown"])
def test_fresh_is_refused_while_jobs_are_unfinished(
    ezlink: Ezlink, user: Emulator, command: Command, state: str
) -> None:
    """The command lists the jobs, and changes nothing."""
    ezlink(*command)
    _break_journal(state, 2)
    before = len(user.control.attempts)
    said = ezlink(*command, "--fresh")
    assert said.code == 2
    words = "is not saved" if state == "submitted" else "may have been paid"
    assert said.err.count(words) == 2
    assert "Run the command without --fresh first: it fetches what is paid." in said.err
    assert ("EZLINK_ACCOUNT_TOKEN" in said.err) == (state != "submitted")
    assert Path("out/.ezlink/journal.sqlite3").exists()
    assert len(user.control.attempts) == before


def test_fresh_counts_all_unfinished_jobs_but_those_of_the_built_in_server(
    ezlink: Ezlink, command: Command
) -> None:
    ezlink(*command, "--no-report")
    with closing(sqlite3.connect("out/.ezlink/journal.sqlite3")) as journal, journal:
        columns = "kind, request, label, family, request_ids, changes"
        for number in range(1_200):
            server = "local" if number < 600 else "https://elsewhere.example"
            state = "submitted" if number % 600 < 599 else "unknown"
            journal.execute(
                f"INSERT INTO jobs (server, place, state, task_id, {columns}) "  # noqa: S608
                f"SELECT ?, ?, ?, '7', {columns} FROM jobs WHERE id = 1",
                (server, f"x{number}", state),
            )
    said = ezlink(*command, "--fresh")
    assert said.code == 2
    assert said.err.count("is not saved") == 10
    assert "and 590 more" in said.err


def test_dry_run_changes_no_file_and_submits_nothing(
    ezlink: Ezlink, user: Emulator, command: Command, photos: Path
) -> None:
    said = ezlink(*command, "--dry-run")
    assert said.code == 0
    assert not Path("out").exists()
    assert "3 swaps would be paid for" in said.err
    ezlink(*command)
    (photos / "new.jpg").write_bytes(jpeg(22_000))
    (photos / "newer.jpg").write_bytes(jpeg(22_001))
    _break_journal("unknown")
    Path("out/b.jpg").unlink()
    before, seen = _tree(Path("out")), len(user.control.attempts)
    said = ezlink(*command, "--dry-run", "--json")
    assert _tree(Path("out")) == before
    assert len(user.control.attempts) == seen
    assert "2 swaps would be paid for" in said.err
    statuses = sorted(str(row["status"]) for row in said.rows[:-1])
    assert statuses == ["planned", "planned", "planned", "skipped", "unknown"]
    tight = ezlink(*command, "--dry-run", "--budget", 1)
    assert "the budget leaves out 1 swap\n1 swap would be paid for" in tight.err
    anew = ezlink(*command, "--dry-run", "--fresh")
    assert "5 swaps would be paid for" in anew.err
    assert _tree(Path("out")) == before


@pytest.mark.usefixtures("stranger")
def test_dry_run_of_the_built_in_server_needs_neither_key_nor_server(
    ezlink: Ezlink,
) -> None:
    said = ezlink("swap", *FACES, "--output", "out", "--local", "--dry-run")
    assert (said.code, said.out.count("send ")) == (0, 1)
    assert (
        "\n1 swap would be done by the built-in server, for free\n" in f"\n{said.err}"
    )
    assert not Path("out").exists()


# --- one run at a time


def test_second_run_in_a_folder_is_refused_and_sends_nothing(
    ezlink: Ezlink, user: Emulator, command: Command
) -> None:
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


def test_retry_failed_sends_only_failed_jobs_again(
    ezlink: Ezlink, user: Emulator, command: Command
) -> None:
    user.control.script_tasks(scripts.fails())
    assert ezlink(*command).code == 1
    plain = ezlink(*command, "--json")
    assert (plain.code, plain.summary) == (1, sums(skipped=2, failed=1))
    assert ezlink(*command, "--retry-failed", "--json").summary == sums(
        succeeded=1, skipped=2
    )
    assert len(user.control.tasks) == 4


def test_pictures_that_no_rerun_mends_are_counted_apart(
    ezlink: Ezlink, user: Emulator, command: Command, photos: Path
) -> None:
    """Another run is advised neither here nor in the report, and the exit code is 1."""
    (photos / "cut.jpg").write_bytes(jpeg(20_050)[:-2])
    reason = "no face was found in the target picture"
    user.control.script_tasks(scripts.fails(reason))
    for _ in range(2):
        said = ezlink(*command)
        assert said.code == 1
        assert "cannot be used: " in said.err
        assert "2 cannot be used (" in said.err
        assert "cut.jpg" in said.err.split("2 cannot be used (")[1].split(")")[0]
        assert "a rerun alone changes nothing" in said.err
        assert "resume with" not in said.err
        assert "2 cannot be used, " in said.err or "2 cannot be used in" in said.err
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "--retry-failed" not in page
    assert "a rerun alone changes nothing" in page
    assert len(user.control.tasks) == 3


def test_failure_that_may_pass_is_no_fault_of_the_picture(
    ezlink: Ezlink, user: Emulator, command: Command
) -> None:
    user.control.script_tasks(scripts.fails())
    said = ezlink(*command)
    assert "1 failed, 2 done" not in said.err
    assert "cannot be used" not in said.err
    assert "--retry-failed" in Path("out/report.html").read_text(encoding="utf-8")


def test_unknown_jobs_are_listed_in_every_run_until_resubmitted(
    ezlink: Ezlink,
    user: Emulator,
    command: Command,
    one: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are listed with their request ids, and with what finds them for nothing."""
    user.control.script("submit", faults.Drop(job=True))
    ezlink(*command)
    for said in (ezlink(*one), ezlink(*command)):
        assert said.code == 1
        assert "1 may have been paid, their answers are lost:\n  " in said.err
        assert "(request id: " in said.err
        assert "to find out: set EZLINK_ACCOUNT_TOKEN to the account's" in said.err
    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", "0" * 32)  # refused: it finds nothing
    said = ezlink(*command)
    assert "to find out: run the same command again: it looks them up" in said.err
    assert "as the last resort --resubmit-unknown" in said.err
    monkeypatch.delenv("EZLINK_ACCOUNT_TOKEN")
    asked = ezlink(*command, "--resubmit-unknown", "--json")
    assert (asked.code, asked.summary) == (0, sums(succeeded=1, skipped=2))
    assert len(user.control.charges) == 4


@pytest.mark.parametrize(
    ("option", "word"), [("--budget", "budget"), ("--max-failures", "TooManyFailures")]
)
def test_pairs_beyond_a_limit_are_counted_with_the_reason(
    ezlink: Ezlink, user: Emulator, command: Command, option: str, word: str
) -> None:
    """The command exits with 1 and names the command that resumes."""
    if word != "budget":
        user.control.script("submit", faults.banned_word())
    said = ezlink(*command[:-1], 1, option, 1)
    assert said.code == 1
    assert "2 not done: " in said.err
    assert word in said.err
    assert said.err.splitlines()[-1].startswith("resume with: ezlink swap ")


# --- money


def test_what_was_charged_is_told_at_the_end(
    ezlink: Ezlink, user: Emulator, command: tuple[object, ...]
) -> None:
    """In words, in the report, and as numbers; the dollars include a lost payment."""
    user.control.script("submit", faults.Delay(0), faults.Drop(job=True))
    said = ezlink(*command)
    sentence = "charged to the key meanwhile: 0.054 USD; 2 jobs accepted"
    assert sentence in said.err
    assert sentence in Path("out/report.html").read_text(encoding="utf-8")
    again = ezlink(*command, "--resubmit-unknown", "--json")
    last = again.rows[-1]["summary"]
    assert isinstance(last, dict)
    assert (last["charged_usd"], last["accounted"]) == (0.018, 1)


def test_key_without_usage_pages_leaves_the_charges_out(
    ezlink: Ezlink, user: Emulator, command: Command
) -> None:
    """The summary has the numbers it always has."""
    user.control.standing("usage", faults.Answer(404, "nothing here"))
    said = ezlink(*command, "--json")
    assert said.summary == sums(succeeded=3)
    assert "charged" not in said.err


# --- the report


def test_report_command_prints_the_path_of_the_new_report(
    ezlink: Ezlink, command: Command, tmp_path: Path
) -> None:
    """Without a journal, or where the page cannot be written, it is one sentence."""
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
    again = ezlink(*command)
    assert again.code == 0
    assert "no report was written: " in again.err
    assert "Errno" not in again.err


class _Interrupted(BatchOptions):
    """Options of a user who presses Ctrl-C while the report is written."""

    @property
    def journal_path(self) -> Path:
        raise KeyboardInterrupt


def test_interrupt_skips_the_report_and_names_the_command_that_makes_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_report(_Interrupted(output=tmp_path), Display(), 200)
    assert capfd.readouterr().err.splitlines() == [
        "writing the report (Ctrl-C skips it)",
        f"the report was skipped; make it with: ezlink report {tmp_path}",
    ]


@pytest.mark.usefixtures("user")
def test_journal_without_a_run_gives_an_empty_report(ezlink: Ezlink) -> None:
    path = Path("out/.ezlink/journal.sqlite3")
    path.parent.mkdir(parents=True)
    Journal.open(path).close()
    assert ezlink("report", "out").code == 0


def test_journal_knows_the_changes_of_each_picture(
    ezlink: Ezlink, user: Emulator
) -> None:
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[0x010F] = "a camera"
    for name, colour in (("me.jpg", "red"), ("a.jpg", "blue")):
        image.new("RGB", (64, 64), colour).save(name, exif=exif)
    command = ("swap", "me.jpg", "a.jpg", "--output", "out", "--strip-metadata")
    said = ezlink(*command, "--json")
    assert said.summary == sums(succeeded=1), said.out
    with closing(sqlite3.connect("out/.ezlink/journal.sqlite3")) as journal:
        (row,) = journal.execute("SELECT request, changes FROM jobs").fetchall()
    assert "strip_metadata" in row[0]
    assert row[1] not in {None, "[]"}
    assert len(user.control.charges) == 1


# --- a damaged journal


def test_random_bytes_in_the_rows_of_a_journal_end_every_command(
    ezlink: Ezlink, user: Emulator, command: Command
) -> None:
    """With exit code 2, the reason and what to do; nothing is sent."""
    assert ezlink(*command).code == 0
    journal, charged = Path("out/.ezlink/journal.sqlite3"), len(user.control.charges)
    content = journal.read_bytes()
    journal.write_bytes(content.replace(b"saved", b"s\xa7\x13\xff\x00"))
    for what in (command, (*command, "--dry-run"), (*command, "--fresh", "--yes")):
        said = ezlink(*what)
        assert said.code == 2
        assert "journal.sqlite3 is damaged" in said.err
        assert "move it away to begin anew" in said.err
    assert ezlink("report", "out").code == 2
    assert len(user.control.charges) == charged
    assert sum(user.control.uploads.values()) == charged
