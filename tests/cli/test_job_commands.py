"""Every command with jobs: what each sends, saves and prints, and how it goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.command_line import SAMPLES, Ezlink, Said, start, sums

Arguments = tuple[object, ...]

KEYS = {
    *("kind", "label", "output", "outputs", "task_id", "status", "error"),
    *("maybe_charged", "text"),
}


def _grid(ezlink: Ezlink, user: Emulator) -> str:
    """Make a grid in a folder of its own, and return the id of its task."""
    assert ezlink("imagine", "a parent", "--output", "parents").code == 0
    return user.control.tasks[-1].task_id


def _enlarged(ezlink: Ezlink, user: Emulator) -> str:
    """Enlarge a picture of a grid, and return the id of its task."""
    assert ezlink("action", _grid(ezlink, user), "U1", "--output", "parents").code == 0
    return user.control.tasks[-1].task_id


def _dialog(ezlink: Ezlink, user: Emulator) -> str:
    """Press a button that asks for input, and return the id of the task that waits."""
    command = ("action", _enlarged(ezlink, user), "Custom Zoom", "-o", "parents")
    assert ezlink(*command).code == 1
    return user.control.tasks[-1].task_id


def _run(*_: object) -> Arguments:
    Path("jobs.csv").write_text("kind,prompt\nimagine,a cat\n", encoding="utf-8")
    return "run", "jobs.csv"


@attrs.frozen
class _Case:
    """A command with one job: its name in the call, its price, its result."""

    arguments: Callable[[Ezlink, Emulator], Arguments]
    kind: str
    units: int
    output: str
    presses: int = 0  # tasks that are made before the one of the job


CASES = {
    "imagine": _Case(lambda *_: ("imagine", "a cat"), "imagine", 18_000, "a cat.png"),
    "blend": _Case(
        lambda *_: ("blend", SAMPLES / "hopper.jpg", SAMPLES / "joconde.jpg"),
        *("blend", 18_000, "hopper.png"),
    ),
    "describe": _Case(
        lambda *_: ("describe", SAMPLES / "hopper.jpg"),
        *("describe", 9_000, "hopper.txt"),
    ),
    "shorten": _Case(lambda *_: ("shorten", "a cat"), "shorten", 18_000, "a cat.txt"),
    "action": _Case(
        lambda *some: ("action", _grid(*some), "U2"), "action", 9_000, "{0}+U2.png"
    ),
    "modal": _Case(
        lambda *some: ("modal", _dialog(*some), "--prompt", "a hat"),
        *("modal", 18_000, "{0}+modal.png"),
    ),
    "region": _Case(
        lambda *some: ("action", _enlarged(*some), "Custom Zoom", "--prompt", "a hat"),
        *("modal", 18_000, "{0}+Custom Zoom.png", 1),
    ),
    "run": _Case(_run, "imagine", 18_000, "a cat.png"),
}


@attrs.frozen
class _Job:
    """A command that is ready to be typed, and the server it is sent to."""

    case: _Case
    command: Arguments
    user: Emulator
    before: int  # charges

    @property
    def output(self) -> str:
        """The path of the result."""
        return f"out/{self.case.output.format(self.command[1])}"

    @property
    def charged(self) -> list[int]:
        """What was charged for this command, in units."""
        return [charge.units for charge in self.user.control.charges[self.before :]]

    def script(self, life: scripts.Script) -> None:
        """Have the task of the job, and those before it, live like this."""
        self.user.control.script_tasks(*[life] * (1 + self.case.presses))

    @property
    def submits(self) -> int:
        """The number of submits of any kind so far, free ones too."""
        return sum("/submit/" in seen.path for seen in self.user.control.requests)


@pytest.fixture(params=CASES, ids=list(CASES))
def job(request: pytest.FixtureRequest, ezlink: Ezlink, user: Emulator) -> _Job:
    """Return each command in turn, with the task that it goes on from."""
    case = CASES[request.param]
    arguments = case.arguments(ezlink, user)
    command = (*arguments, "--output", "out")
    return _Job(case, command, user, len(user.control.charges))


def test_job_is_charged_once_and_its_result_saved(ezlink: Ezlink, job: _Job) -> None:
    said = ezlink(*job.command)
    assert (said.code, job.charged) == (0, [job.case.units]), said.err
    content = Path(job.output).read_bytes()
    if job.output.endswith(".txt"):
        assert said.out.strip() == content.decode().strip()
        assert f"{job.output}:" in said.err
    else:
        assert said.out == f"{job.output}\n"
        assert content.startswith(b"\x89PNG")
    cost = job.case.units / 500_000
    assert f"1 job: 1 to send\nabout {cost:g} USD at default prices" in said.err
    assert "1 succeeded in " in said.err
    assert Path("out/report.html").exists()


def _again(ezlink: Ezlink, job: _Job) -> Said:
    """Run the command of *job* again; imagine and action in another process."""
    if job.command[0] not in {"imagine", "action"}:
        return ezlink(*job.command)
    with start(*job.command) as command:
        return command.end()


def test_same_command_in_another_process_pays_nothing(
    ezlink: Ezlink, job: _Job
) -> None:
    """
    What was not finished is followed; what was finished is left alone.

    All that is known of the jobs is in their journal, so a few processes show it.
    """
    job.script(scripts.slow(600))
    said = ezlink(*job.command, "--deadline", 0.2)
    assert said.code == 1
    assert "is not finished" in said.err
    assert "\nresume with: ezlink " in said.err
    submits = job.submits
    job.user.control.advance(600)
    again = _again(ezlink, job)
    assert (again.code, job.submits) == (0, submits), again.err
    assert "1 open from before" in again.err
    assert Path(job.output).exists()
    third = ezlink(*job.command, "--json")
    assert (third.code, third.summary) == (0, sums(skipped=1))
    assert job.charged == [job.case.units]


def test_failure_is_one_line_and_sent_again_only_on_demand(
    ezlink: Ezlink, job: _Job
) -> None:
    job.script(scripts.fails("the machine is broken"))
    said = ezlink(*job.command)
    assert (said.code, said.out) == (1, "")
    assert said.err.count("failed: ") >= 1
    assert "the machine is broken" in said.err
    again = ezlink(*job.command)
    assert again.code == 1
    assert job.charged == [job.case.units]
    assert ezlink(*job.command, "--retry-failed").code == 0
    assert Path(job.output).exists()


def test_json_has_one_object_for_the_job(ezlink: Ezlink, job: _Job) -> None:
    said = ezlink(*job.command, "--json")
    row, _ = said.rows
    assert set(row) == KEYS
    assert (row["kind"], row["status"]) == (job.case.kind, "succeeded")
    assert (row["output"], row["outputs"]) == (job.output, [job.output])
    assert row["task_id"] == job.user.control.tasks[-1].task_id
    is_text = job.output.endswith(".txt")
    text = Path(job.output).read_text(encoding="utf-8") if is_text else ""
    assert str(row["text"]).strip() == text.strip()
    assert (row["error"], row["maybe_charged"]) == (None, False)
    assert said.summary == sums(succeeded=1)


def test_dry_run_names_the_result_and_the_price_and_sends_nothing(
    ezlink: Ezlink, job: _Job
) -> None:
    submits = job.submits
    said = ezlink(*job.command, "--dry-run")
    place = job.output.rpartition(".")[0]
    assert (said.code, job.submits) == (0, submits), said.err
    assert said.out.startswith("send ")
    assert said.out.endswith(f" -> {place}\n")
    cost = job.case.units / 500_000
    assert f"1 job would be paid for\nabout {cost:g} USD at default prices" in said.err
    assert not Path("out").exists()
    assert ezlink(*job.command, "--dry-run", "--json").rows[0]["status"] == "planned"


def test_lost_answer_is_unknown_and_not_repeated(ezlink: Ezlink, job: _Job) -> None:
    """But for a modal, whose rows prove that it was accepted."""
    job.user.control.script(job.case.kind, faults.Drop(job=True))
    said = ezlink(*job.command, "--json")
    row, _ = said.rows
    is_found = job.case.kind == "modal"
    assert row["status"] == ("succeeded" if is_found else "unknown"), row
    assert row["maybe_charged"] is not is_found
    submits = job.submits
    assert ezlink(*job.command).code == int(not is_found)
    assert job.submits == submits
    assert job.charged == [job.case.units]
