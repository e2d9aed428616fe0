"""The container: a build stage, and a last one that has no more than it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"

_TEXT = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text())
LINES = [line for line in _TEXT.splitlines() if line and not line.startswith("#")]
_LAST = max(i for i, line in enumerate(LINES) if line.startswith("FROM "))
LAST = LINES[_LAST:]
"""The instructions of the last stage."""


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="needs hadolint")
def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(
        ["hadolint", str(DOCKERFILE)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_there_are_two_stages_with_the_same_fixed_python() -> None:
    images = [line.split()[1] for line in LINES if line.startswith("FROM ")]
    assert len(images) == 2
    assert len(set(images)) == 1
    assert re.fullmatch(r"python:3\.\d+-slim", images[0])


def test_last_stage_runs_the_command_as_a_user_without_rights() -> None:
    users = [line.split()[1] for line in LAST if line.startswith("USER ")]
    assert users == ["10001:10001"]
    assert 'ENTRYPOINT ["ezlink"]' in LAST


def test_last_stage_installs_nothing_and_copies_the_environment_alone() -> None:
    runs = [line for line in LAST if line.startswith("RUN ")]
    assert [line.split()[1] for line in runs] == ["useradd"]
    copies = [line for line in LAST if line.startswith(("COPY ", "ADD "))]
    assert copies == ["COPY --from=build /opt/ezlink /opt/ezlink"]


def test_no_key_is_written_into_the_image() -> None:
    assert not re.search(r"^(ENV|ARG)\b.*(KEY|TOKEN)", _TEXT, re.MULTILINE)


def test_build_sees_what_the_wheel_is_made_of_and_no_more() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in rules
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    needed = {"ezlink_async", "docs/samples", "share", "pyproject.toml"}
    assert kept == needed | {"README.md", "LICENSE"}
    assert all((ROOT / name).exists() for name in kept)
    assert not any(fnmatch(".env", name) or fnmatch(".git", name) for name in kept)
