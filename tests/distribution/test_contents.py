"""The files that are uploaded: what is in them, and that they can be made again."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import attrs
import pytest

from ezlink_async import __version__

pytest.importorskip("hatchling")
pytest.importorskip("hatch_fancy_pypi_readme")

ROOT = Path(__file__).parents[2]
WHEN = "1700000000"
STEM = f"ezlink_async-{__version__}"

_LIMIT = 4 * 1024 * 1024

_DATA = re.compile(
    r"""
    ezlink_async/( samples/(README\.md | \w+\.jpg)
                 | report/assets/\w+\.(js | css | html)
                 | emulator/engine/weights/(LICENSE | NOTICE | \w+\.(tflite | npy))
                 | emulator/pictures/(clip\.mp4 | clip_recipe\.sh)
                 | py\.typed )
    """,
    re.VERBOSE,
)
"""The files of the package that are no modules."""

_OF_SDIST = {"ezlink_async", "tests", "docs", "share", "pyproject.toml", "noxfile.py"}
_OF_SDIST |= {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE"}
_OF_SDIST |= {"CITATION.cff", "Dockerfile", ".dockerignore", ".gitignore", "PKG-INFO"}
_OF_SDIST |= {"README.zh-CN.md"}


@attrs.frozen
class Files:
    """The two files of a release."""

    sdist: Path
    wheel: Path


def _build(source: Path, folder: Path) -> Files:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": WHEN},
        capture_output=True,
        check=True,
    )
    return Files(folder / f"{STEM}.tar.gz", folder / f"{STEM}-py3-none-any.whl")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Build both from the source tree."""
    return _build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def in_wheel(built: Files) -> list[str]:
    """Return the names of the files in the wheel."""
    with zipfile.ZipFile(built.wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def description(built: Files) -> str:
    """Return the text that an index shows."""
    with zipfile.ZipFile(built.wheel) as archive:
        metadata = archive.read(f"{STEM}.dist-info/METADATA").decode()
    return str(email.message_from_string(metadata).get_payload())


def test_files_built_from_the_sdist_are_the_same_bytes(
    built: Files, tmp_path: Path
) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    again = _build(tmp_path / STEM, tmp_path / "dist")
    assert again.sdist.read_bytes() == built.sdist.read_bytes()
    assert again.wheel.read_bytes() == built.wheel.read_bytes()


def test_wheel_has_the_package_its_data_and_no_more(in_wheel: list[str]) -> None:
    package = {name for name in in_wheel if name.startswith("ezlink_async/")}
    others = set(in_wheel) - package
    data = {name for name in package if not name.endswith(".py")}
    assert [name for name in sorted(data) if not _DATA.fullmatch(name)] == []
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "ezlink_async").rglob("*.py")
    }
    assert package - data == modules
    beside = (f"{STEM}.dist-info/", f"{STEM}.data/data/share/")
    assert [name for name in sorted(others) if not name.startswith(beside)] == []


def test_wheel_has_each_file_of_the_source_tree_that_a_user_needs(
    in_wheel: list[str],
) -> None:
    expected = {
        f"ezlink_async/samples/{path.name}"
        for path in (ROOT / "docs" / "samples").iterdir()
    }
    expected |= {
        f"{STEM}.data/data/{path.relative_to(ROOT).as_posix()}"
        for path in (ROOT / "share").rglob("*")
        if path.is_file()
    }
    licences = f"{STEM}.dist-info/licenses"
    weights = "ezlink_async/emulator/engine/weights"
    expected |= {f"{licences}/LICENSE", f"{licences}/{weights}/NOTICE"}
    assert expected - set(in_wheel) == set()


def test_wheel_is_small(built: Files) -> None:
    assert built.wheel.stat().st_size < _LIMIT


def test_sdist_has_the_source_tree_and_no_work_files(built: Files) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    names = [member.name.removeprefix(f"{STEM}/") for member in members]
    assert {name.partition("/")[0] for name in names} == _OF_SDIST
    assert not [name for name in names if re.search(r"__pycache__|_build|\.pyc", name)]
    owners = {(member.uid, member.gid, member.uname) for member in members}
    assert owners == {(0, 0, "")}


def test_description_has_no_picture_and_no_link_that_an_index_lacks(
    description: str,
) -> None:
    assert "![" not in description
    assert not re.findall(r"\]\((?!https://)[^)]*\)", description)
    assert "docs/" not in description


def test_description_installs_from_the_index_and_takes_the_samples_of_the_wheel(
    description: str,
) -> None:
    command = next(each for each in description.splitlines() if " install -q" in each)
    assert "'ezlink-async[local]'" in command
    assert "ezlink samples photos && " in command
    assert "ezlink swap photos/astronaut.jpg photos --local" in command


def test_description_has_the_code_of_the_readme(description: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    fence = re.compile(r"^```python\n.*?^```", re.DOTALL | re.MULTILINE)
    blocks = [each.replace("docs/samples", "photos") for each in fence.findall(readme)]
    assert fence.findall(description) == blocks
    assert blocks


def test_version_is_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {__version__}\n" in citation
    assert f"\n## [{__version__}] - " in changelog
