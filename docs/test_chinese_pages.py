"""The Chinese pages stay beside their English twins."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
from pathlib import Path

import pytest

from docs import chinese_pages
from docs.chinese_pages import PAGES, ROOT, digest, is_current, renew, twin_of
from ezlink_async import errors
from ezlink_async._core import error_mapping
from ezlink_async.batch.journal.jobs import Reason

TROUBLESHOOTING = (ROOT / "docs/zh/troubleshooting.md").read_text(encoding="utf-8")

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_NO_PROSE = re.compile(
    r"^```.*?^```|`[^`\n]+`|<!--.*?-->|\]\([^)]*\)", re.DOTALL | re.MULTILINE
)
_HALF_WIDTH = re.compile(r"[\u4e00-\u9fff][,;:?!()]|[,;:?!(][\u4e00-\u9fff]")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

_WITH_TWIN = [
    page
    for page in PAGES
    # Its English page is not written yet; once it is there, the two are compared.
    if page.name != "troubleshooting.md" or twin_of(page)[0].exists()
]
each_page_with_twin = pytest.mark.parametrize(
    "page", _WITH_TWIN, ids=lambda page: page.name
)


def _blocks(page: Path) -> list[object]:
    """Return the code of *page* without comments, which a translation changes."""
    return [
        ast.dump(ast.parse(text))
        if language == "python"
        else shlex.split(text, comments=True)
        for language, text in _BLOCK.findall(page.read_text(encoding="utf-8"))
        if language in {"python", "sh"}
    ]


def _links_to(page: Path, other: Path) -> bool:
    address = os.path.relpath(other, page.parent)
    return f"]({address})" in page.read_text(encoding="utf-8")


@each_page_with_twin
def test_twin_has_not_changed_since_it_was_compared(page: Path) -> None:
    """After a look at the page run ``python docs/chinese_pages.py PAGE``."""
    twin, _ = twin_of(page)
    assert is_current(page), f"{twin} has changed: see whether {page} has to"


@each_page_with_twin
def test_page_and_its_twin_link_to_each_other(page: Path) -> None:
    twin, _ = twin_of(page)
    assert _links_to(page, twin)
    assert _links_to(twin, page)


@each_page_with_twin
def test_page_has_the_code_of_its_twin(page: Path) -> None:
    twin, _ = twin_of(page)
    assert _blocks(page) == _blocks(twin)


@each_page
def test_punctuation_beside_chinese_is_of_full_width(page: Path) -> None:
    prose = _NO_PROSE.sub("", page.read_text(encoding="utf-8"))
    assert _HALF_WIDTH.findall(prose) == []


def test_changed_twin_is_listed_until_its_page_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    twin, page = tmp_path / "a.md", tmp_path / "zh.md"
    twin.write_text("one\n", encoding="utf-8")
    mark = f"<!-- twin: a.md sha256: {digest(twin)} -->\n"
    page.write_text(f"{mark}一\n", encoding="utf-8")
    monkeypatch.setattr(chinese_pages, "ROOT", tmp_path)
    monkeypatch.setattr(chinese_pages, "PAGES", (page,))
    assert chinese_pages.main([]) == 0
    twin.write_text("two\n", encoding="utf-8")
    assert chinese_pages.main([]) == 1
    assert capsys.readouterr().out == "zh.md: look at a.md, which has changed\n"
    assert chinese_pages.main([str(page)]) == 0
    assert is_current(page)
    assert page.read_text(encoding="utf-8").endswith("-->\n一\n")


def test_page_without_a_mark_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "zh.md"
    page.write_text("一\n", encoding="utf-8")
    with pytest.raises(ValueError, match="names no twin"):
        renew(page)


def test_troubleshooting_has_a_row_for_each_reason_and_error_class() -> None:
    classes = inspect.getmembers(errors, inspect.isclass)
    names = {name for name, each in classes if issubclass(each, errors.EzlinkError)}
    rows = set(re.findall(r"^\| `(\w+)` \|", TROUBLESHOOTING, re.MULTILINE))
    assert {*names, *Reason} == rows


def _literals() -> str:
    """Return all texts in the package's source, with … for each value in them."""
    texts = list[str]()
    for path in (ROOT / "ezlink_async").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Constant(value=str(text)):
                    texts.append(text.replace("%s", "…").replace("`", ""))
                case ast.JoinedStr(values=parts):
                    texts.append("".join(map(_part, parts)).replace("`", ""))
    return "\n".join(texts)


def _part(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "…"


def test_troubleshooting_quotes_messages_as_the_package_has_them() -> None:
    # The names of errors are compared above, and are no messages.
    literals = "\n".join((_literals(), *vars(errors)))
    rows = re.findall(r"^\| (`[^|]+`)[^|`]* \|", TROUBLESHOOTING, re.MULTILINE)
    quotes = re.findall(r"`([^`]+)`", " ".join(rows))
    parts = [part.strip(" ;") for quote in quotes for part in quote.split("…")]
    assert [part for part in parts if part not in literals] == []


def test_troubleshooting_has_each_sentence_of_the_server_and_its_meaning() -> None:
    known = error_mapping._ENGLISH  # noqa: SLF001 - the table that messages use
    rows = re.findall(r"^\| (\S+) \| ([a-z' ]+) \|", TROUBLESHOOTING, re.MULTILINE)
    assert dict(rows) == known
