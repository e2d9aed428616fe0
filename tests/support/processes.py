"""Processes of another user, and processes that hold a resource until killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _without_rights() -> list[str]:
    """Return the words before a command that run it as a user without rights."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        pytest.skip("only root may become another user")
    user = [setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    try_it = [*user, sys.executable, "-c", ""]
    if subprocess.run(try_it, capture_output=True, check=False).returncode:
        pytest.skip("no other user may run this interpreter")
    return user


def run_without_rights(program: str, *arguments: object, cwd: Path) -> str:
    """Run *program* as a user without rights, and return what it prints."""
    command = [*_without_rights(), sys.executable, "-c", program, *map(str, arguments)]
    # Coverage could not write its data without rights, and would say so.
    env = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout


@contextlib.contextmanager
def shared_folder() -> Iterator[Path]:
    """Make a folder that other users may enter: pytest's own are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def holding(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run *program*, and yield when it holds its resource."""
    with subprocess.Popen(
        [
            *(sys.executable, "-c", f"{program}\nprint('held', flush=True)\ninput()"),
            *map(str, arguments),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()
