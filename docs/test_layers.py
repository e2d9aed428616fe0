"""The table of the layers names every module that the import contract names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_table_is_complete() -> None:
    """A module that is in the contract has a line, and the other way round."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    wanted = {
        name.strip()
        for layer in layers
        for name in layer.split("|")
        if "(" not in name  # may be missing
    }
    page = (ROOT / "docs" / "explanation" / "layers.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name.partition("/")[0] for name in re.findall("`(.+?)`", "".join(rows))}
    if wrong := named ^ wanted:
        pytest.fail(f"only in one of table and contract: {sorted(wrong)}")
