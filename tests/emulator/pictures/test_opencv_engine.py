"""The local engine as the server calls it: formats, errors, threads, memory."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ezlink_async._core.containers import verify_complete
from ezlink_async.emulator.pictures.containers import PictureError

np = pytest.importorskip("numpy")
cv2 = pytest.importorskip("cv2")

from ezlink_async.emulator.engine.swap import (  # noqa: E402
    FaceError,
    Source,
    Swapper,
)
from ezlink_async.emulator.pictures.codec import decode  # noqa: E402
from ezlink_async.emulator.pictures.opencv_engine import (  # noqa: E402
    AnalysedSources,
    OpenCVEngine,
    load_engine,
)

pytestmark = pytest.mark.local

SAMPLES = Path(__file__).parents[3] / "docs" / "samples"


def sample(name: str) -> bytes:
    """Read the bytes of a sample picture."""
    return (SAMPLES / f"{name}.jpg").read_bytes()


def faceless() -> bytes:
    """Return a PNG without a face."""
    return cv2.imencode(".png", np.full((90, 120, 3), 77, np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def engine() -> OpenCVEngine:
    """Make one engine for the module."""
    return load_engine()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_result_has_the_format_and_size_of_the_target(
    engine: OpenCVEngine, suffix: str
) -> None:
    """The face is replaced, and the file is complete and of the same kind."""
    pixels = decode(sample("synthetic_1")).pixels
    target = cv2.imencode(suffix, pixels)[1].tobytes()
    result = engine.swap(sample("joconde"), target)
    assert verify_complete(result) == verify_complete(target)
    before, after = decode(target), decode(result)
    assert before.pixels.shape == after.pixels.shape
    apart = np.abs(before.pixels.astype(int) - after.pixels).max(axis=2)
    assert apart[133:339, 266:446].mean() > 5
    assert apart[:80].mean() < 3


def test_result_has_the_alpha_of_the_target(engine: OpenCVEngine) -> None:
    pixels = decode(sample("synthetic_1")).pixels
    alpha = np.full(pixels.shape[:2], 90, np.uint8)
    target = cv2.imencode(".png", np.dstack([pixels, alpha]))[1].tobytes()
    result = decode(engine.swap(sample("joconde"), target))
    assert result.alpha is not None
    assert (result.alpha == 90).all()


def test_error_names_the_picture_without_a_face(engine: OpenCVEngine) -> None:
    with pytest.raises(FaceError) as source:
        engine.swap(faceless(), sample("astronaut"))
    with pytest.raises(FaceError) as target:
        engine.swap(sample("astronaut"), faceless())
    assert (source.value.which, target.value.which) == ("source", "target")


def test_source_or_target_over_the_limit_is_refused() -> None:
    small = OpenCVEngine(max_pixels=20_000)
    with pytest.raises(PictureError, match="more than the 20000"):
        small.swap(faceless(), sample("astronaut"))
    with pytest.raises(PictureError, match="more than the 20000"):
        small.swap(sample("astronaut"), faceless())


def test_four_threads_give_the_results_of_one(engine: OpenCVEngine) -> None:
    """Concurrent swaps of several sources equal the serial ones byte for byte."""
    names = ("astronaut", "hopper", "synthetic_1")
    jobs = [
        (sample(source), sample(target))
        for source in names
        for target in names
        if source != target
    ]
    serial = [engine.swap(*job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        concurrent = list(pool.map(lambda job: OpenCVEngine.swap(engine, *job), jobs))
    assert concurrent == serial


def test_source_is_analysed_once_for_all_threads() -> None:
    """Threads that ask together share one analysis; another source has its own."""
    sources, calls = AnalysedSources(), []
    source = Swapper().analyse(decode(sample("astronaut")).pixels)
    together = threading.Barrier(4)

    def analyse(data: bytes) -> Source:
        calls.append(data)
        return source

    def ask(data: bytes) -> object:
        together.wait(timeout=300)
        return sources.get(data, analyse)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, [b"one", b"one", b"one", b"two"]))
    assert found == [source] * 4
    assert sorted(calls) == [b"one", b"two"]


def test_ninth_source_replaces_the_least_recently_used() -> None:
    sources, calls = AnalysedSources(), []
    source = Swapper().analyse(decode(sample("astronaut")).pixels)

    def analyse(data: bytes) -> Source:
        calls.append(data)
        return source

    for number in (0, 1, 2, 3, 4, 5, 6, 7, 0, 8, 0, 1):
        sources.get(bytes([number]), analyse)
    assert calls == [bytes([number]) for number in (0, 1, 2, 3, 4, 5, 6, 7, 8, 1)]


def test_failed_analysis_is_tried_again() -> None:
    sources = AnalysedSources()
    source = Swapper().analyse(decode(sample("astronaut")).pixels)

    def fail(_: bytes) -> Source:
        raise FaceError("source")

    with pytest.raises(FaceError):
        sources.get(b"one", fail)
    assert sources.get(b"one", lambda _: source) is source


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", script, str(SAMPLES)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("missing", ["cv2", "numpy"])
def test_import_error_names_the_command_that_installs_the_extra(missing: str) -> None:
    """Without numpy or OpenCV the text has the command to install them."""
    done = run(
        f"import sys; sys.modules['{missing}'] = None\n"
        "import ezlink_async.emulator.pictures.opencv_engine"
    )
    assert done.returncode == 1
    assert "ImportError" in done.stderr
    assert "pip install 'ezlink-async[local]'" in done.stderr


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak is read from /proc"
)
def test_swap_of_twelve_megapixels_needs_less_than_500_megabytes() -> None:
    """The peak is that of the whole process, decoding and encoding included."""
    done = run(
        "import sys, cv2\n"
        "from ezlink_async.emulator.pictures.opencv_engine import load_engine\n"
        "folder = sys.argv[1]\n"
        "group = cv2.resize(cv2.imread(folder + '/hopper.jpg'), (4000, 3000))\n"
        "target = cv2.imencode('.jpg', group)[1].tobytes()\n"
        "source = open(folder + '/astronaut.jpg', 'rb').read()\n"
        "assert load_engine().swap(source, target)\n"
        # Not getrusage: its peak includes the size of the parent process.
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print(next(line.split()[1] for line in lines if 'VmHWM' in line))"
    )
    assert not done.returncode, done.stderr
    assert int(done.stdout) * 1024 < 500 * 1024 * 1024


def test_engine_has_a_name(engine: OpenCVEngine) -> None:
    assert engine.name == "opencv"
