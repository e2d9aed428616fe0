"""``ezlink task``, ``serve``, ``--version``, usage, and the missing extra."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ezlink_async import __version__
from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.command_line import SAMPLES, Ezlink, home, read_until, start

_engine = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None, reason="needs the local extra"
)


def _paid(ezlink: Ezlink, user: Emulator, photos: Path, output: str = "out") -> str:
    ezlink("swap", photos / "me.jpg", photos / "a.jpg", "--output", output)
    return user.control.tasks[-1].task_id


def test_version(ezlink: Ezlink) -> None:
    """``--version`` prints name and version."""
    said = ezlink("--version")
    assert (said.code, said.out.strip()) == (0, f"ezlink-async {__version__}")


def test_where_stdout_is_no_file(ezlink: Ezlink) -> None:
    """A program that catches what is printed gets it."""
    with contextlib.redirect_stdout(io.StringIO()) as caught:
        assert ezlink("--version").code == 0
    assert caught.getvalue().strip() == f"ezlink-async {__version__}"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("swpa",), "Did you mean swap? "),
        (("swap",), "--output requires an argument. See: ezlink swap --help"),
        (("swap", "a", "--output", "b", "--local"), "give a SOURCE and at least one"),
        (("task",), "ID requires an argument. See: ezlink task --help"),
        (("serve", "--port", "70000"), "--port. Must be <= 65535."),
        (("swap", "a", "b", "--outptu", "c"), "Did you mean --output?"),
    ],
)
def test_wrong_usage_is_one_line_on_stderr(
    ezlink: Ezlink, arguments: tuple[str, ...], says: str
) -> None:
    """It says what is wrong and where to read on."""
    said = ezlink(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("ezlink: ")
    assert said.err.count("\n") == 1
    assert says in said.err.replace('"', "")  # some releases of cyclopts quote more


@pytest.mark.parametrize("command", ["", "swap", "task", "serve", "doctor"])
def test_help_fits_a_narrow_terminal(
    ezlink: Ezlink, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Every command explains itself on stdout, in the columns there are."""
    monkeypatch.setenv("COLUMNS", "60")
    said = ezlink(*command.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"Usage: ezlink {command}")
    assert max(map(len, said.out.splitlines())) <= 60
    assert "False" not in said.out


def test_tasks_are_shown(ezlink: Ezlink, user: Emulator, photos: Path) -> None:
    """Exit 0 when all are SUCCESS; unknown and failed ones are said."""
    task_id = _paid(ezlink, user, photos)
    said = ezlink("task", task_id, task_id)
    assert (said.code, said.out) == (0, f"{task_id} SUCCESS 100%\n")
    said = ezlink("task", task_id, "1")
    assert said.code == 1
    assert "1: the server does not know it" in said.err
    user.control.script_tasks(scripts.fails(), scripts.unmentioned())
    said = ezlink("task", _paid(ezlink, user, photos, "again"))
    assert said.code == 1
    assert "FAILURE" in said.out


def test_a_task_that_has_only_been_accepted_is_shown(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """What the server says nothing of yet is not started; that is exit 1."""
    user.control.script_tasks(scripts.unmentioned())
    swap = ("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out")
    assert ezlink(*swap, "--deadline", 0.2).code == 1
    (task,) = user.control.tasks
    said = ezlink("task", task.task_id)
    assert (said.code, said.out) == (1, f"{task.task_id} not started 0%\n")
    user.control.script("list", faults.Rows(change={"progress": ""}))
    assert ezlink("task", task.task_id).out == f"{task.task_id} not started\n"


def test_a_task_needs_a_key_as_a_swap_does(
    ezlink: Ezlink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says where one may stand, and no more: a local server has no such task."""
    home(monkeypatch, tmp_path)
    said = ezlink("task", "1")
    assert (said.code, said.out) == (2, "")
    assert "EZLINK_API_KEY" in said.err
    assert "--local" not in said.err


def test_results_are_brought_home_by_id(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """Saved under their ids; one that cannot be is told, and exit 1."""
    task_id = _paid(ezlink, user, photos)
    said = ezlink("task", task_id, "nope", "--output", "home")
    assert said.code == 1
    assert said.out == f"home/{task_id}.jpg\n"
    assert "nope: TaskNotFoundError" in said.err
    assert Path("home", f"{task_id}.jpg").stat().st_size
    assert ezlink("task", task_id, "--output", f"home/{task_id}.jpg").code == 2


@pytest.mark.parametrize("engine", ["copy", pytest.param("opencv", marks=_engine)])
def test_serve_until_interrupted(
    ezlink: Ezlink,
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The address is on stdout, how to use it on stderr, and Ctrl-C ends it well."""
    home(monkeypatch, tmp_path)
    with start("serve", "--engine", engine) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        key = read_until(process.stderr, "EZLINK_API_KEY=").strip()
        monkeypatch.setenv("EZLINK_BASE_URL", url)
        monkeypatch.setenv("EZLINK_API_KEY", key.partition("=")[2])
        faces = SAMPLES / "astronaut.jpg", SAMPLES / "synthetic_1.jpg"
        said = ezlink("swap", *faces, "--output", "out")
        assert (said.code, said.out) == (0, "out/synthetic_1.jpg\n")
        port = url.rpartition(":")[2]
        busy = ezlink("serve", "--engine", "copy", "--port", port)
        assert busy.code == 2
        assert "nothing can be served" in busy.err
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("command", ["serve", "swap me.jpg a.jpg --output o --local"])
def test_without_the_engine_it_names_its_extra(
    ezlink: Ezlink, photos: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """One sentence with the command to install it, before anything is begun."""
    home(monkeypatch, photos)
    monkeypatch.setitem(sys.modules, "cv2", None)
    said = ezlink(*command.split())
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert "pip install 'ezlink-async[local]'" in said.err


def test_without_the_extra_it_names_it(tmp_path: Path) -> None:
    """A missing cyclopts is one sentence with the command to install it."""
    program = (
        "import sys; sys.modules['cyclopts'] = None\n"
        "from ezlink_async.__main__ import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'ezlink-async[cli]'" in done.stderr


def test_another_missing_module_is_no_missing_extra(tmp_path: Path) -> None:
    """What is broken in another way is shown as it is."""
    program = (
        "import sys; sys.modules['attrs'] = None\n"
        "from ezlink_async.__main__ import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "attrs" in done.stderr
