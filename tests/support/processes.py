"""Processes that hold something until they are let go, or killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest


def as_nobody() -> list[str]:
    """Return what to put before a command that somebody without rights is to run."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        pytest.skip("only root may become somebody else")
    user = [setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    try_it = [*user, sys.executable, "-c", ""]
    if subprocess.run(try_it, capture_output=True, check=False).returncode:
        pytest.skip("nobody else may run this interpreter")
    return user


@contextlib.contextmanager
def holding(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run *program*, which holds something as soon as it prints a line."""
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
