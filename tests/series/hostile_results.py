"""
Fifty results that hold more pixels than memory, through ``ezlink swap``.

The command runs in a process of its own, with its report, and ends by printing the
most memory it has had. A small edition is ``tests/report/test_memory.py``.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from pathlib import Path

from ezlink_async.cli import run
from ezlink_async.emulator import EmulatorSettings, serving
from tests.report.hostile_run import peak
from tests.series.result import Environment, SeriesResult
from tests.support.hostile_pictures import hostile_results
from tests.support.programs import run_python

_RESULTS = 50
_MOST = 400  # MB
_SAMPLES = Path("docs/samples")


class _HostileEngine:
    """Returns the hostile pictures one after the other, for any source and target."""

    name = "hostile"

    def __init__(self) -> None:
        self._pictures = itertools.cycle(hostile_results().values())

    def swap(self, source: bytes, target: bytes) -> bytes:  # noqa: ARG002 - an engine
        return next(self._pictures)


def _make_photos(folder: Path) -> None:
    """Make photos that differ in bytes behind their end."""
    folder.mkdir()
    photo = (_SAMPLES / "hopper.jpg").read_bytes()
    for number in range(_RESULTS):
        (folder / f"{number}.jpg").write_bytes(photo + b"%d" % number)


def _read_page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


async def hostile_results_series(_: Environment) -> SeriesResult:
    """Swap fifty photos at a hostile server, and check the command's memory."""
    settings = EmulatorSettings(engine=_HostileEngine(), concurrency=8, queue=100)
    with tempfile.TemporaryDirectory() as name:
        photos, output = Path(name) / "photos", Path(name) / "out"
        _make_photos(photos)
        async with serving(settings) as server:
            env = {"EZLINK_API_KEY": server.api_key, "EZLINK_BASE_URL": server.base_url}
            words = (
                str(_SAMPLES / "astronaut.jpg"),
                str(photos),
                "--output",
                str(output),
            )
            out, _complaints = await run_python(
                "-m", "tests.series.hostile_results", *words, env=os.environ | env
            )
        page, saved = _read_page(output), len(list(output.glob("[0-9]*")))
    megabytes = int(out.split()[-1])
    result = SeriesResult([f"{saved} results", f"peak {megabytes} MB"])
    result.expect("every result is saved", saved, _RESULTS)
    if "169 megapixels, and up to 120" not in page:
        result.broken.append("the report does not say why a result is not shown")
    if megabytes >= _MOST:
        result.broken.append(f"the command took more than {_MOST} MB")
    return result


if __name__ == "__main__":
    code = run(["swap", *sys.argv[1:]])
    sys.stdout.write(f"{peak()}\n")
    sys.exit(code)
