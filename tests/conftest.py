"""Fixtures for all tests, the hypothesis profile, and the trusted certificate."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.pictures import jpeg
from tests.support.raw_servers import trust_file

# aiohttp reads the variable once, when it is imported; this must run before.
os.environ["SSL_CERT_FILE"] = str(trust_file(Path(tempfile.mkdtemp())))

# Journals and results wait for the disk, which shows nothing where no machine dies. So
# the folders of tests are in memory, where the system has much of it.
_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a private folder there
if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 4 * 1024**3:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

settings.register_profile("project", derandomize=True, deadline=None, database=None)
settings.load_profile("project")

# A shell has the programs that it starts in the background ignore SIGINT, and so would
# the commands that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of photos and other files; ``me.jpg`` is the source."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "me.jpg").write_bytes(jpeg(20_000))
    (folder / "a.jpg").write_bytes(jpeg(20_001))
    (folder / "b.jpeg").write_bytes(jpeg(20_002))
    (folder / "trip" / "a.jpg").write_bytes(jpeg(20_003))
    (folder / "notes.txt").write_text("no picture")
    (folder / "moving.gif").write_bytes(b"GIF89a" + bytes(40))
    (folder / ".thumb.jpg").write_bytes(jpeg(20_004))
    (folder / ".hidden" / "x.jpg").write_bytes(jpeg(20_005))
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    return folder
