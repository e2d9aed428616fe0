"""
Keep each Chinese page beside its English twin.

The first line of a Chinese page names its twin, and the SHA-256 of the twin as it was
when the two were last compared. Run ``python docs/chinese_pages.py`` for the pages
whose twin has changed since. After a look at one, ``python docs/chinese_pages.py
docs/zh/tutorial.md`` renews its hash.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.zh-CN.md", *sorted((ROOT / "docs" / "zh").rglob("*.md")))
"""The Chinese pages."""

_MARK = re.compile(r"<!-- twin: (\S+) sha256: ([0-9a-f]{64}) -->\n")


def twin_of(page: Path) -> tuple[Path, str]:
    """Return the English twin of *page*, and its hash when they were compared."""
    found = _MARK.match(page.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{page}: the first line names no twin with its SHA-256")
    return ROOT / found[1], found[2]


def digest(page: Path) -> str:
    """Return the SHA-256 of the text of *page*, its line ends read as LF."""
    return hashlib.sha256(page.read_text(encoding="utf-8").encode()).hexdigest()


def is_current(page: Path) -> bool:
    """
    Return whether the twin of *page* is as it was when they were compared.

    It is not if there is no such twin.
    """
    twin, known = twin_of(page)
    return twin.exists() and digest(twin) == known


def renew(page: Path) -> None:
    """Store in *page* that it was compared with its twin as that is now."""
    twin, known = twin_of(page)
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace(known, digest(twin), 1), encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Renew the named pages; without one, list those to be looked at."""
    for name in arguments:
        renew(Path(name).resolve())
    if arguments:
        return 0
    changed = [page for page in PAGES if not is_current(page)]
    for page in changed:
        twin = twin_of(page)[0].relative_to(ROOT)
        sys.stdout.write(
            f"{page.relative_to(ROOT)}: look at {twin}, which has changed\n"
        )
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
