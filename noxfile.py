"""
All checks, by name: ``nox`` runs the default sessions.

Interpreters that are not installed are skipped. ``nox -s bench`` and the
sessions that need a browser or much time are run by name.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import nox
from nox.command import CommandFailed

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
OLDEST = PYTHONS[0]
PACKAGE = "ezlink_async"
ALL_EXTRAS = ".[local,images,openai,otel,speed]"
"""The package with every extra that a test needs."""

EXAMPLE = Path("docs", "howto", "webapp")
AT_ONCE = ("-n", "2", "--dist", "worksteal")
"""Two workers: tests wait a lot, but more of them would only wait for a processor."""

PARTS_WITH_FILES = (
    *("cli/test_swap.py", "emulator/engine", "emulator/pictures", "end_to_end"),
    *("report", "test_public_api.py"),
)
"""Tests of what lies in the wheel besides modules, and of its programs as a whole."""

PARTS_OF_THE_CLIENT = ("batch", "client", "core", "io", "services")
"""Tests of the client, which the newest interpreter runs; the oldest runs them all."""

PARTS_OF_THE_BASE = ("core", "io", "services")
"""Tests that the interpreters between these run: they meet the most of Python."""

_WITHOUT_OPENAI = """[mypy]
strict = True
[mypy-openai.*]
follow_imports = skip
ignore_missing_imports = True
"""
"""What Mypy sees where the optional package is not installed."""

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False
nox.options.sessions = [
    "lint",
    "imports",
    "types",
    "pyright",
    "tests",
    "coverage",
    "docs",
    "package",
]


def _prefer_real_interpreters() -> None:
    # pyenv puts a shim on the path for every version that was ever installed, and
    # the shim of a version that is not chosen fails; so use its folders directly.
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    found = [
        str(folder)
        for version in PYTHONS
        for folder in sorted(root.glob(f"{version}.*/bin"), reverse=True)[:1]
    ]
    os.environ["PATH"] = os.pathsep.join([*found, os.environ["PATH"]])


_prefer_real_interpreters()

NEWEST = next((each for each in PYTHONS[::-1] if shutil.which(f"python{each}")), OLDEST)


def _group(name: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PROJECT, name)


def _changed_rooms(session: nox.Session) -> list[str]:
    """Return the folders of tests of the files that are not committed."""
    listing = session.run(
        "git", "status", "--porcelain", "-uall", external=True, silent=True
    )
    parts = [Path(line[3:]).parts for line in str(listing or "").splitlines()]
    names = {path[1].strip("_") for path in parts if len(path) > 2}  # noqa: PLR2004
    return sorted(name for name in names if (ROOT / "tests" / name).is_dir())


@nox.session(default=False)
def quick(session: nox.Session) -> None:
    """Check style and types, and run the tests of one room: ``-- batch``."""
    groups = (*_group("lint"), *_group("types"))
    session.install(*groups, "-e", ALL_EXTRAS)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", silent=True)
    rooms = session.posargs or _changed_rooms(session)
    folders = [f"tests/{room.strip('_')}" for room in rooms]
    session.run("mypy", PACKAGE, *folders)
    if folders:
        session.run("pytest", "-q", *AT_ONCE, *folders)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and spelling."""
    session.install(*_group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell", PACKAGE, "tests", "docs", *ROOT.glob("*.md"))


@nox.session
def imports(session: nox.Session) -> None:
    """Check that imports go one way, and that each module can be imported first."""
    session.install(*_group("lint"), "pytest", "-e", ALL_EXTRAS)
    session.run("lint-imports")
    # An order of imports can hide a circle: here each module is the first one.
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.name != "__main__.py":
            session.run("python", "-c", f"import {name}", silent=True, log=False)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package, of its tests and of its users' scripts."""
    session.install(*_group("types"), "-e", ALL_EXTRAS)
    session.run("mypy", PACKAGE, "tests", "noxfile.py")
    # The modules of the example import each other from its folder.
    session.run("mypy", str(EXAMPLE), env={"MYPYPATH": str(EXAMPLE)})
    scripts = _write_scripts(Path(session.create_tmp()) / "scripts")
    session.run("mypy", "--strict", "--config-file=", str(scripts))
    hidden = scripts.parent / "without_openai.ini"
    hidden.write_text(_WITHOUT_OPENAI)
    session.run("mypy", f"--config-file={hidden}", str(scripts))


@nox.session
def pyright(session: nox.Session) -> None:
    """Check the types that editors show; skipped where Pyright cannot be had."""
    try:
        session.install(*_group("pyright"), "-e", ALL_EXTRAS)
        session.run("pyright", "--version", silent=True)  # fetches its program
    except CommandFailed:
        session.skip("Pyright cannot be installed: it needs a network, and Node.js")
    scripts = _write_scripts(Path(session.create_tmp()) / "scripts")
    shutil.copytree(ROOT / "tests" / "typing", scripts / "typing")
    for mode in ("basic", "strict"):
        config = scripts / f"{mode}.json"
        config.write_text(json.dumps({"include": ["."], "typeCheckingMode": mode}))
        session.run("pyright", "--project", str(config))
    session.run("pyright", "--verifytypes", PACKAGE, "--ignoreexternal")


def _write_scripts(folder: Path) -> Path:
    """Write the scripts of README and tutorial into *folder*, as a user would."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for page in (ROOT / "README.md", ROOT / "docs" / "tutorial.md"):
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        # A block that imports asyncio begins a script; others go on with the last.
        scripts = re.split(r"^(?=import asyncio$)", "".join(blocks), flags=re.MULTILINE)
        for number, script in enumerate(filter(None, scripts)):
            name = f"{page.stem.lower()}_{number}.py"
            (folder / name).write_text(script, encoding="utf-8")
    return folder


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """
    Run the tests: all with the oldest interpreter, with others those of some rooms.

    Arguments go to pytest in place of that: ``-- tests`` runs all.
    """
    parts: Sequence[str] = PARTS_OF_THE_BASE
    if session.python in {OLDEST, NEWEST}:
        parts = () if session.python == OLDEST else PARTS_OF_THE_CLIENT
    session.install(*_group("test"), "-e", ALL_EXTRAS)
    # No code asks for the version of Python, so one interpreter shows the coverage.
    measured = ("coverage", "run", "-m") if session.python == OLDEST else ()
    session.run(
        *measured,
        "pytest",
        *AT_ONCE,
        *(session.posargs or [f"tests/{part}" for part in parts]),
        env={"COVERAGE_FILE": str(ROOT / f".coverage.{session.python}")},
    )


@nox.session(python=OLDEST)
def minimums(session: nox.Session) -> None:
    """Run the tests with the lowest version of everything the package needs."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
    lowest = [each.replace(">=", "==") for each in wanted if ">=" in each]
    session.install(*_group("test"), *lowest, "-e", ALL_EXTRAS)
    session.run("pytest", "-q", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Combine the coverage of all tests, and compare it with the required minimum."""
    session.install("coverage[toml]")
    session.run("coverage", "combine", "--keep", env={"COVERAGE_FILE": ".coverage"})
    session.run("coverage", "report", env={"COVERAGE_FILE": ".coverage"})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the docs, warnings being errors, and run every example in them."""
    session.install(*_group("docs"), "-e", ALL_EXTRAS)
    build = ROOT / "docs" / "_build"
    session.run("sphinx-build", "-n", "-W", "--keep-going", "-q", "docs", str(build))
    session.run("pytest", "docs", "tests/webapp")


@nox.session(python=NEWEST)
def package(session: nox.Session) -> None:
    """Test the built wheel in a bare environment, with the source tree gone."""
    session.install("build", *_group("test"))
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist), str(ROOT), silent=True)
    wheel = next(dist.glob("*.whl"))
    session.install("--force-reinstall", "--no-deps", str(wheel))
    session.install(f"{wheel}[local,images,openai,otel]")
    tree = dist.parent / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ROOT / "tests", tree / "tests")
    shutil.copytree(ROOT / "docs" / "samples", tree / "docs" / "samples")
    shutil.copy(ROOT / "pyproject.toml", tree)
    session.chdir(tree)
    session.run("python", "-c", f"import {PACKAGE}; print({PACKAGE}.__file__)")
    parts = session.posargs or [f"tests/{part}" for part in PARTS_WITH_FILES]
    session.run("pytest", "-q", *AT_ONCE, *parts)


@nox.session(default=False)
def release(session: nox.Session) -> None:
    """Do all of a release but the upload; the files are left in ``dist``."""
    session.install(*_group("release"), "-e", ".[cli]")
    when = session.run("git", "log", "-1", "--format=%ct", external=True, silent=True)
    env = {"SOURCE_DATE_EPOCH": str(when).strip()}
    dist = ROOT / "dist"
    again = Path(session.create_tmp()) / "dist"
    for folder in (dist, again):
        shutil.rmtree(folder, ignore_errors=True)
        args = ("-m", "build", "--outdir", str(folder), str(ROOT))
        session.run("python", *args, silent=True, env=env)
    digests = _digests(dist)
    if digests != _digests(again):
        session.error(f"two builds differ: {digests} and {_digests(again)}")
    session.run("twine", "check", "--strict", *map(str, sorted(dist.iterdir())))
    session.run("pytest", "-q", "tests/distribution")
    for version in PYTHONS:
        if shutil.which(f"python{version}"):
            _check_installed(session, next(dist.glob("*.whl")), version)
    for name, digest in digests.items():
        session.log(f"{digest}  dist/{name}")


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in *folder*, by its name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def _check_installed(session: nox.Session, wheel: Path, version: str) -> None:
    """Use the *wheel* in a bare environment, in a folder without the sources."""
    bare = Path(session.create_tmp()) / f"bare-{version}"
    shutil.rmtree(bare, ignore_errors=True)
    work = bare / "work"
    work.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "distribution" / "check_installed.py", work)
    session.run(f"python{version}", "-m", "venv", str(bare / "venv"), external=True)
    folder = bare.absolute() / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = str(folder / "python")
    tools = ("pytest", "pytest-asyncio")
    args = ("-m", "pip", "install", "-q", f"{wheel}[local]", *tools)
    session.run(python, *args, external=True)
    with session.chdir(work):
        session.run(python, "check_installed.py", external=True)


@nox.session(default=False)
def container(session: nox.Session) -> None:
    """Lint the Dockerfile, and run the steps of its first stage without Docker."""
    session.install(*_group("container"))
    session.run("hadolint", "Dockerfile")
    folder = Path(session.create_tmp()).absolute() / "container"
    shutil.rmtree(folder, ignore_errors=True)
    source, work = folder / "src", folder / "work"
    work.mkdir(parents=True)
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            _copy(ROOT / line[1:], source / line[1:])
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    build = text.split("\nFROM ")[1]
    steps = re.findall(r"^RUN (.*)$", build, re.MULTILINE)
    place = str(folder / "opt" / "ezlink")
    with session.chdir(source):
        for step in steps:
            command = step.replace("/opt/ezlink", place)
            session.run("sh", "-euc", command, external=True)
    shutil.rmtree(source)  # the last stage has the environment alone
    ezlink = f"{place}/bin/ezlink"
    with session.chdir(work):
        session.run(ezlink, "--help", external=True, silent=True)
        session.run(ezlink, "samples", "photos", external=True)
        args = ("photos/astronaut.jpg", "photos", "--local", "--output", "swapped")
        session.run(ezlink, "swap", *args, external=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a folder, without compiled modules."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, ignore=ignore)
    else:
        shutil.copy(source, target)


@nox.session(default=False)
def browser(session: nox.Session) -> None:
    """Test the report and the example in headless Chromium; skipped without one."""
    session.install(*_group("test"), *_group("webapp"), "-e", ".[local]")
    session.run("pytest", "tests/browser", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Compare the client with a script written by hand, both run in turns."""
    session.install("-e", ".[speed,bench]")
    session.run("python", "-m", "tests.bench", *session.posargs)


@nox.session(default=False)
def series(session: nox.Session) -> None:
    """Run the long series against raw sockets, all or the named ones."""
    session.install(*_group("test"), "-e", ".[speed,cli]")
    session.run("python", "-m", "tests.series", *session.posargs)


@nox.session(default=False)
def kills(session: nox.Session) -> None:
    """Kill batches at random points, all series or the named ones."""
    session.install(*_group("test"), "-e", ".[cli,images]")
    session.run("python", "-m", "tests.kills", *session.posargs)


@nox.session(default=False)
def scale(session: nox.Session) -> None:
    """Swap 100,000 tiny photos, and skip them again: memory and time stay flat."""
    session.install(*_group("test"), "-e", ".[cli,images]")
    session.run("python", "-m", "tests.scale", *session.posargs)


@nox.session(default=False)
def load(session: nox.Session) -> None:
    """Load the example application with 200 users for a minute."""
    session.install(*_group("test"), *_group("webapp"), "-e", ".[cli]")
    session.run("python", "-m", "tests.load", *session.posargs)
