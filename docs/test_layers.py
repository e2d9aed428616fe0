"""The page of rooms agrees with the import contracts and with the folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.draw_rooms import PICTURE, drawing, rooms

ROOMS_WITH_TABLES = ["_core", "services", "_io", "_client", "batch", "instrumentation"]

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ezlink_async"
PAGE = (ROOT / "docs" / "explanation" / "layers.md").read_text(encoding="utf-8")


def _cells(text: str) -> list[tuple[str, str]]:
    """Return the first two cells of each row of the tables in *text*."""
    return re.findall(r"^\| `([\w/]+)` \| (.*?) \|", text, re.MULTILINE)


def _modules(room: str) -> set[str]:
    """Return the modules that the section of *room* names, below its folder."""
    section = PAGE.split(f"### `{room}`\n")[1].split("\n#")[0]
    found = set()
    for name, text in _cells(section):
        inside = re.findall(r"`(\w+)`:", text) if name.endswith("/") else [""]
        found |= {name + module for module in inside}
    return found


def test_the_table_names_each_room_of_the_contract_once() -> None:
    table = PAGE.split("## What each room holds")[0]
    contract = [name for layer in rooms() for name in layer]
    assert sorted(name for name, _ in _cells(table)) == sorted(contract)


def test_the_picture_is_drawn_from_the_contract() -> None:
    """The committed picture is what ``docs/draw_rooms.py`` draws today."""
    assert PICTURE.read_text(encoding="utf-8") == drawing()


@pytest.mark.parametrize("room", ROOMS_WITH_TABLES)
def test_the_table_of_a_room_names_each_of_its_modules(room: str) -> None:
    assert _modules(room) == {
        str(path.relative_to(PACKAGE / room).with_suffix(""))
        for path in (PACKAGE / room).rglob("*.py")
        if path.name != "__init__.py"
    }


def test_the_package_has_nine_rooms_and_few_public_modules() -> None:
    """Every folder at the top is a room of the contract, and every room is there."""
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert len(folders) == 9
    assert folders < {name for layer in rooms() for name in layer}
    assert len(list(PACKAGE.glob("*.py"))) <= 11
