"""Processes of another user, and processes that hold a resource until killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest


def without_rights() -> list[str]:
    """Return the words before a command that run it as a user without rights."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        pytest.skip("only root may become another user")
    user = [setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    try_it = [*user, sys.executable, "-c", ""]
    if subprocess.run(try_it, capture_output=True, check=False).returncode:
        pytest.skip("no other user may run this interpreter")
    return user


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
