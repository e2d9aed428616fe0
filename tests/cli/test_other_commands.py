"""``ezlink task``, ``serve``, ``--version``, usage, and the missing extra."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import signal
import sys
import urllib.request
from pathlib import Path
from typing import cast

import pytest

from ezlink_async import __version__
from ezlink_async.emulator import Emulator, faults, scripts
from ezlink_async.services.flux import FLUX
from ezlink_async.services.image_generation import IMAGES
from ezlink_async.services.video import VIDEO
from tests.support.command_line import FACES, Ezlink, enter_home, run_python, start

_engine = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None, reason="needs the local extra"
)


def _paid(ezlink: Ezlink, user: Emulator, photos: Path, output: str = "out") -> str:
    ezlink("swap", photos / "me.jpg", photos / "a.jpg", "--output", output)
    return user.control.tasks[-1].task_id


def test_version_is_printed_to_stdout(ezlink: Ezlink) -> None:
    said = ezlink("--version")
    assert (said.code, said.out.strip()) == (0, f"ezlink-async {__version__}")


def test_stdout_may_be_replaced_by_a_program(ezlink: Ezlink) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as caught:
        assert ezlink("--version").code == 0
    assert caught.getvalue().strip() == f"ezlink-async {__version__}"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("swpa",), "Did you mean swap? "),
        (("swap",), "--output DIR is missing. See: ezlink swap --help"),
        (("swap", "-o"), "-o requires an argument. See: ezlink swap --help"),
        (("swap", "a", "--output", "b", "--local"), "give a SOURCE and at least one"),
        (("task",), "ID is missing. See: ezlink task --help"),
        (("swap", "https://a.b/c.jpg", "d.jpg", "-o", "x", "--local"), "download it"),
        (("swap", "-", "d.jpg", "-o", "x", "--local"), "name the SOURCE before it"),
        (("serve", "--port", "70000"), "--port. Must be <= 65535."),
        (("serve", "--engine", "copy", "--fault", "lots:1"), "lots:1' is no fault"),
        (("serve", "--engine", "copy", "--origin", "*"), "'*' is no origin"),
        (("swap", "a", "b", "--outptu", "c"), "Did you mean --output?"),
    ],
)
def test_wrong_usage_is_one_line_on_stderr(
    ezlink: Ezlink, arguments: tuple[str, ...], says: str
) -> None:
    said = ezlink(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("ezlink: ")
    assert said.err.count("\n") == 1
    assert says in said.err.replace('"', "")  # some releases of cyclopts quote more


@pytest.mark.parametrize(
    "command",
    [
        *("", "swap", "imagine", "blend", "describe", "shorten", "action", "modal"),
        *("run", "seed", "task", "serve", "doctor"),
        *("upload", "models", "balance"),
    ],
)
def test_help_fits_a_narrow_terminal(
    ezlink: Ezlink, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    said = ezlink(*command.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"Usage: ezlink {command}")
    assert max(map(len, said.out.splitlines())) <= 60
    assert said.out.count(f"\nezlink {command}") >= 1 or not command
    assert "False" not in said.out


def test_help_names_every_kind_of_a_manifest_and_its_deadline(ezlink: Ezlink) -> None:
    words = " ".join(ezlink("run", "--help").out.replace("│", " ").split())
    assert "image, flux, video, swap" in words
    for family in (VIDEO, IMAGES, FLUX):
        assert f"{family.timing.deadline:.0f}" in words


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_list_of_commands_says_what_each_does(
    tmp_path: Path, arguments: object
) -> None:
    """Commands are imported when they are called, and for this list."""
    said = run_python(f"import sys\nsys.argv = ['ezlink', *{arguments}]", tmp_path)
    assert said.code == 0
    for words in (
        *("Check address", "Make report", "Run the", "Put the", "Show tasks"),
        *("Make a grid", "Mix two", "Describe", "Find the words", "Press buttons"),
        *("Send the input", "Do the jobs", "Print the seed"),
        *("Store files", "Print the server's", "Print what"),
    ):
        assert words in said.out


def test_tasks_are_shown_and_all_success_exits_0(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    task_id = _paid(ezlink, user, photos)
    said = ezlink("task", task_id, task_id)
    assert (said.code, said.out) == (0, f"{task_id} SUCCESS 100%\n")
    said = ezlink("task", task_id, "1")
    assert said.code == 1
    assert "1: the server does not know this id" in said.err
    user.control.script_tasks(scripts.fails(), scripts.unmentioned())
    said = ezlink("task", _paid(ezlink, user, photos, "again"))
    assert said.code == 1
    assert "FAILURE" in said.out


def test_accepted_task_without_a_status_is_shown_as_not_started(
    ezlink: Ezlink, user: Emulator, one: tuple[object, ...]
) -> None:
    user.control.script_tasks(scripts.unmentioned())
    assert ezlink(*one, "--deadline", 0.2).code == 1
    (task,) = user.control.tasks
    said = ezlink("task", task.task_id)
    assert (said.code, said.out) == (1, f"{task.task_id} not started 0%\n")
    user.control.script("list", faults.Rows(change={"progress": ""}))
    assert ezlink("task", task.task_id).out == f"{task.task_id} not started\n"


@pytest.mark.usefixtures("stranger")
def test_task_without_a_key_does_not_advise_local(ezlink: Ezlink) -> None:
    """A local server has no such task."""
    said = ezlink("task", "1")
    assert (said.code, said.out) == (2, "")
    assert "EZLINK_API_KEY" in said.err
    assert "--local" not in said.err


def test_results_are_saved_by_id_and_a_failure_exits_1(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    task_id = _paid(ezlink, user, photos)
    said = ezlink("task", task_id, "nope", "--output", "results")
    assert said.code == 1
    assert said.out == f"results/{task_id}.jpg\n"
    assert "nope: TaskNotFoundError" in said.err
    assert Path("results", f"{task_id}.jpg").stat().st_size
    assert ezlink("task", task_id, "--output", f"results/{task_id}.jpg").code == 2


def _state(url: str, secret: str) -> dict[str, object]:
    request = urllib.request.Request(f"{url}/__emu/state")  # noqa: S310 - loopback
    request.add_header("X-Emulator-Secret", secret)
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        return cast("dict[str, object]", json.load(answer))


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("engine", ["copy", pytest.param("opencv", marks=_engine)])
def test_serve_prints_how_to_use_it_and_ends_well_when_interrupted(
    ezlink: Ezlink, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start("serve", "--engine", engine) as command:
        url = command.first_line()
        key = command.read_until("EZLINK_API_KEY=").strip()
        monkeypatch.setenv("EZLINK_BASE_URL", url)
        monkeypatch.setenv("EZLINK_API_KEY", key.partition("=")[2])
        token = command.read_until("EZLINK_ACCOUNT_TOKEN=").strip()
        monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", token.partition("=")[2])
        secret = command.read_until("X-Emulator-Secret: ").strip()
        assert _state(url, secret.partition(": ")[2].partition("'")[0])["rows"] == 0
        said = ezlink("swap", *FACES, "--output", "out")
        assert (said.code, said.out) == (0, "out/synthetic_1.jpg\n")
        port = url.rpartition(":")[2]
        busy = ezlink("serve", "--engine", "copy", "--port", port)
        assert busy.code == 2
        assert f"cannot listen on 127.0.0.1:{port}: " in busy.err
        command.process.send_signal(signal.SIGINT)
        assert command.end().code == 0


@pytest.mark.parametrize(
    "command",
    [
        "serve",
        "swap me.jpg a.jpg --output o --local",
        "run swaps.csv --output o --local",
    ],
)
def test_missing_engine_is_one_sentence_that_names_the_extra(
    ezlink: Ezlink, photos: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    enter_home(monkeypatch, photos)
    monkeypatch.setitem(sys.modules, "cv2", None)
    rows = "kind,source,target\nswap,me.jpg,a.jpg\n"
    Path("swaps.csv").write_text(rows, encoding="utf-8")
    said = ezlink(*command.split())
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "pip install 'ezlink-async[local]'" in said.err


@pytest.mark.usefixtures("stranger")
def test_local_draws_without_the_engine_for_swaps(
    ezlink: Ezlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "numpy", None)
    said = ezlink("imagine", "a fox", "--local", "--output", "out")
    assert (said.code, said.out) == (0, "out/a fox.png\n"), said.err


def test_missing_cyclopts_is_one_sentence_that_names_the_extra(tmp_path: Path) -> None:
    said = run_python("import sys; sys.modules['cyclopts'] = None", tmp_path)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "pip install 'ezlink-async[cli]'" in said.err


def test_another_missing_module_is_shown_as_it_is(tmp_path: Path) -> None:
    said = run_python("import sys; sys.modules['attrs'] = None", tmp_path)
    assert said.code == 1
    assert "attrs" in said.err


def test_completion_of_all_commands_is_installed_for_the_shell(
    ezlink: Ezlink, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/bash")
    assert ezlink("--install-completion").code == 0
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    (script,) = [path for path in found if path.name == "ezlink"]
    for word in ("swap", "doctor", "--retry-failed", "--engine"):
        assert word in script.read_text(encoding="utf-8")


def test_tasks_as_json_are_one_object_a_line(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    user.control.script_tasks(scripts.fails("no face"))
    ezlink("swap", photos / "me.jpg", photos / "a.jpg", photos / "b.jpeg", "-o", "out")
    ids = {str(task.status): task.task_id for task in user.control.tasks}
    for more in ((), ("-o", "tasks")):
        said = ezlink("task", *ids.values(), "1" * 16, "--json", *more)
        assert said.code == 1
        rows = {row["task_id"]: row for row in said.rows}
        assert len(rows) == 3
        good, bad = rows[ids["SUCCESS"]], rows[ids["FAILURE"]]
        assert (good["status"], good["progress"], good["error"]) == (
            "SUCCESS",
            100,
            None,
        )
        assert bool(good["output"]) == bool(more)
        assert "no face" in str(bad["error"])
        assert rows["1" * 16]["status"] is None
        assert said.err == ""


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("switches", [(), ("--files-work", "--stability")])
def test_serve_stores_files_and_serves_stability_if_it_is_asked_to(
    switches: tuple[str, ...], ezlink: Ezlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start("serve", "--engine", "copy", "--api-key", "sk-x", *switches) as command:
        monkeypatch.setenv("EZLINK_BASE_URL", command.first_line())
        monkeypatch.setenv("EZLINK_API_KEY", "sk-x")
        made = ezlink("stability", "core", "--prompt", "a fox", "--output", "out")
        codes = (ezlink("upload", FACES[0]).code, made.code)
        assert codes == ((0, 0) if switches else (1, 1)), made.err
        command.process.send_signal(signal.SIGINT)
        assert command.end().code == 0


@pytest.mark.usefixtures("stranger")
def test_serve_plays_faults_at_random(
    ezlink: Ezlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a rate of 1 every task fails."""
    options = ("--delay", "0.01", "--beat", "0.01", "--capacity", "1")
    with start(
        *("serve", "--engine", "copy", "--fault", "failed:1", "--api-key", "sk-x"),
        *options,
    ) as command:
        monkeypatch.setenv("EZLINK_BASE_URL", command.first_line())
        monkeypatch.setenv("EZLINK_API_KEY", "sk-x")
        assert command.read_until("EZLINK_API_KEY=").strip().endswith("=sk-x")
        said = ezlink("swap", *FACES, "--output", "out")
        assert said.code == 1
        command.process.send_signal(signal.SIGINT)
        assert command.end().code == 0
