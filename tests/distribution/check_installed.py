"""
What must work where only the wheel is installed; a program, not a test of this tree.

``nox -s release`` runs it with each interpreter, in a folder without the sources:
``python check_installed.py``. It needs the extra ``local`` and pytest.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import ezlink_async

_TEST = """
async def test_swap(ezlink_client, ezlink_emulator):
    async with ezlink_client as ez:
        handle = await ez.swap_face("photos/astronaut.jpg", "photos/hopper.jpg")
        assert (await handle).status.value == "SUCCESS"
    assert len(ezlink_emulator.control.tasks) == 1
"""

_SHARED = (
    "man/man1/ezlink.1",
    "bash-completion/completions/ezlink",
    "zsh/site-functions/_ezlink",
    "fish/vendor_completions.d/ezlink.fish",
    "ezlink-async/config.schema.json",
)


def _run(*command: str) -> str:
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(
            f"{shlex.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def _require(condition: object, what: str) -> None:
    if not condition:
        sys.exit(f"Python {sys.version.split()[0]}: {what}")


def main() -> None:
    """Exit with a sentence about the first thing that does not work."""
    scripts = Path(sys.executable).parent
    ezlink = str(scripts / "ezlink")
    inside = Path(ezlink_async.__file__).is_relative_to(sys.prefix)
    _require(inside, f"the package is not the installed one: {ezlink_async.__file__}")
    _require(ezlink_async.__version__ in _run(ezlink, "--version"), "--version")
    _require("samples" in _run(ezlink, "--help"), "--help does not list samples")
    _require("--output" in _run(ezlink, "swap", "--help"), "swap --help")
    command = shlex.split(_run(ezlink, "samples", "photos"))
    _require(command[:2] == ["ezlink", "swap"], f"samples printed {command}")
    _run(ezlink, *command[1:])
    made = sorted(path.name for path in Path("swapped").glob("*.jpg"))
    _require(len(made) == len(list(Path("photos").glob("*.jpg"))) - 1, f"made {made}")
    _require(Path("swapped/report.html").is_file(), "there is no report")
    Path("test_fixtures.py").write_text(_TEST, encoding="utf-8")
    options = ("-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto")
    _run(sys.executable, "-m", "pytest", *options, "test_fixtures.py")
    for name in _SHARED:
        _require(Path(sys.prefix, "share", name).is_file(), f"share/{name} is missing")
    sys.stdout.write(f"Python {sys.version.split()[0]}: all works\n")


if __name__ == "__main__":
    main()
