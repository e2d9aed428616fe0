"""
Draw the rooms of the package from the import contract in ``pyproject.toml``.

``python docs/draw_rooms.py`` writes ``docs/explanation/rooms.svg``; building
the docs does so too.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "explanation" / "rooms.svg"

_OWNS = {
    "cli": "arguments in, exit code out",
    "pytest_plugin": "fixtures",
    "webhook": "callbacks come in",
    "llm": "is it an answer?",
    "report": "a page about a batch",
    "emulator": "a second reading of the wire",
    "batch": "many swaps, one journal",
    "instrumentation": "where events go",
    "_client": "the running client",
    "prepare": "pictures made acceptable",
    "services": "the API, family by family",
    "_io": "everything that waits",
    "_core": "values and decisions, pure",
    "models": "what users see",
    "buttons": "what a button does",
    "errors": "what users catch",
    "_version": "the version",
}
_WIDTH, _ROW, _GAP, _EDGE = 760, 62, 12, 16
_STYLE = (
    "rect{fill:#eef3f8;stroke:#5b7c99;rx:6}"
    ".module rect{fill:#fbfcfd;stroke:#9db2c4;stroke-dasharray:4 3}"
    ".apart rect{fill:#f6efe4;stroke:#a08050}"
    "text{font-family:sans-serif;text-anchor:middle;fill:#1c2733}"
    ".name{font-size:15px;font-weight:bold}.owns{font-size:12px}"
)


def rooms() -> list[list[str]]:
    """Return the layers of the package, top first, without what may be missing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (
        contract["layers"]
        for contract in contracts
        if contract["name"] == "Rooms are layered"
    )
    split = ([name.strip() for name in layer.split("|")] for layer in layers)
    return [[name for name in layer if "(" not in name] for layer in split]


def _box(name: str, left: float, top: float, width: float) -> str:
    middle = left + width / 2
    kind = "room" if (ROOT / "ezlink_async" / name).is_dir() else "module"
    kind = "apart" if name == "emulator" else kind
    return (
        f'<g class="{kind}">'
        f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{_ROW}"/>'
        f'<text class="name" x="{middle:g}" y="{top + 27:g}">{escape(name)}</text>'
        f'<text class="owns" x="{middle:g}" y="{top + 46:g}">{escape(_OWNS[name])}'
        "</text></g>"
    )


def drawing() -> str:
    """Return the picture: rooms in full lines, modules in broken ones."""
    boxes, top = [], _EDGE
    for layer in rooms():
        width = (_WIDTH - 2 * _EDGE - _GAP * (len(layer) - 1)) / len(layer)
        for number, name in enumerate(layer):
            boxes.append(_box(name, _EDGE + number * (width + _GAP), top, width))
        top += _ROW + _GAP
    height = top - _GAP + _EDGE
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'role="img" aria-label="The rooms of ezlink_async">'
        f"<style>{_STYLE}</style>"
        f'<rect x="0" y="0" width="{_WIDTH}" height="{height}" '
        'style="fill:#fff;stroke:none"/>'
    )
    return "\n".join([head, *boxes, "</svg>", ""])


def draw() -> None:
    """Write the picture."""
    PICTURE.write_text(drawing(), encoding="utf-8")


if __name__ == "__main__":
    draw()
