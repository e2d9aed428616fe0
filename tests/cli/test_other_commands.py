"""``ezlink task``, ``serve``, ``doctor``, ``--version``, and the missing extra."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ezlink_async import __version__
from ezlink_async.emulator import Emulator, faults, scripts
from tests.cli.conftest import Ezlink, home


def _paid(ezlink: Ezlink, user: Emulator, photos: Path) -> str:
    ezlink("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out")
    return user.control.tasks[-1].task_id


def test_version(ezlink: Ezlink) -> None:
    """``--version`` prints name and version."""
    said = ezlink("--version")
    assert (said.code, said.out.strip()) == (0, f"ezlink-async {__version__}")


def test_tasks_are_shown(ezlink: Ezlink, user: Emulator, photos: Path) -> None:
    """Exit 0 when all are SUCCESS; unknown and failed ones are said."""
    task_id = _paid(ezlink, user, photos)
    said = ezlink("task", task_id, task_id)
    assert (said.code, said.out) == (0, f"{task_id} SUCCESS 100%\n")
    said = ezlink("task", task_id, "1")
    assert said.code == 1
    assert "1: the server does not know it" in said.err
    user.control.script_tasks(scripts.fails(), scripts.unmentioned())
    Path("out", "a.jpg").unlink()
    said = ezlink("task", _paid(ezlink, user, photos))
    assert said.code == 1
    assert "FAILURE" in said.out


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


@pytest.mark.parametrize("engine", ["copy"])
def test_serve_until_interrupted(
    ezlink: Ezlink,
    engine: str,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The address is on stdout, how to use it on stderr, and Ctrl-C ends it well."""
    home(monkeypatch, tmp_path)
    command = [sys.executable, "-m", "ezlink_async", "serve", "--engine", engine]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        key = ""
        while "EZLINK_API_KEY=" not in key:
            key = process.stderr.readline()
        monkeypatch.setenv("EZLINK_BASE_URL", url)
        monkeypatch.setenv("EZLINK_API_KEY", key.strip().partition("=")[2])
        said = ezlink("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out")
        assert said.code == 0
        port = url.rpartition(":")[2]
        busy = ezlink("serve", "--engine", "copy", "--port", port)
        assert busy.code == 2
        assert "nothing can be served" in busy.err
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def test_doctor_finds_all_well(ezlink: Ezlink, user: Emulator) -> None:
    """Address, clock, key, balance and route are fine, and nothing was paid."""
    said = ezlink("doctor")
    assert said.code == 0
    assert said.out.count("ok  ") == 6
    assert "2000.00 USD" in said.out
    assert user.control.charges == []
    assert user.api_key not in said.out + said.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda u: u.control.set_key(u.api_key, status="expired"), "make a new key"),
        (lambda u: u.control.set_key(u.api_key, status="exhausted"), "larger quota"),
        (lambda u: u.control.ban(), "ask whoever"),
        (
            lambda u: u.control.script("submit", faults.Answer(404, "<html>")),
            "check EZLINK_BASE_URL",
        ),
        (
            lambda u: u.control.script("submit", faults.Trouble("no_channel")),
            "try again later",
        ),
        (
            lambda u: u.control.script("submit", faults.Drop()),
            "check the address",
        ),
        (
            lambda u: u.control.script("usage", faults.Answer(500, "oops")),
            "try again later",
        ),
        (lambda u: u.control.advance(3600), "ok"),
    ],
)
def test_doctor_says_what_to_do(
    ezlink: Ezlink, user: Emulator, change: Callable[[Emulator], None], words: str
) -> None:
    """Each trouble is found and comes with advice."""
    change(user)
    said = ezlink("doctor")
    assert words in said.out
    assert said.code == (0 if words == "ok" else 1)
    assert user.control.charges == []


def test_doctor_without_a_key_or_a_server(
    ezlink: Ezlink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key, a wrong address, nobody there: one finding and what to do."""
    home(monkeypatch, tmp_path)
    said = ezlink("doctor")
    assert said.code == 1
    assert "EZLINK_API_KEY" in said.out
    monkeypatch.setenv("EZLINK_API_KEY", "sk-x")
    assert "https" in ezlink("doctor", "--base-url", "http://example.com").out
    said = ezlink("doctor", "--base-url", "http://127.0.0.1:9")
    assert said.code == 1
    assert "check the address" in said.out


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
