"""The hypothesis profile, small real pictures, and the recorded exchanges."""

from __future__ import annotations

import base64
import json
import os
import struct
import tempfile
import zlib
from functools import cache
from pathlib import Path

import attrs
import pytest
from hypothesis import settings

from ezlink_async._core.messages import HttpResponse
from tests.servers import trust_file

# aiohttp reads it once, when it is imported: so it stands here, before that.
os.environ["SSL_CERT_FILE"] = str(trust_file(Path(tempfile.mkdtemp())))

settings.register_profile("project", derandomize=True, deadline=None, database=None)
settings.load_profile("project")

SAMPLES = Path(__file__).parent / "samples"


@attrs.frozen
class Sample:
    """One recorded exchange, as far as the client sees it."""

    name: str
    method: str
    path: str
    sent: bytes
    charged: bool
    response: HttpResponse


def _bytes(body: dict[str, str]) -> bytes:
    if "text" in body:
        return body["text"].encode()
    return base64.b64decode(body["base64"]) if "base64" in body else b""


def _sample(line: str) -> Sample:
    row = json.loads(line)
    asked, answered = row["request"], row["response"]
    headers = {name.lower(): value for name, value in answered["headers"]}
    return Sample(
        row["name"],
        asked["method"],
        asked["path"],
        _bytes(asked["body"]),
        bool(row["facts"].get("charged")),
        HttpResponse(
            answered["status"],
            headers,
            _bytes(answered["body"]),
            url="https://api.ezlinkai.com" + asked["path"],
        ),
    )


@cache
def samples() -> dict[str, Sample]:
    """Return every recorded exchange by its name."""
    files = [SAMPLES / name for name in ("samples.jsonl", "balance.jsonl")]
    texts = [file.read_text(encoding="utf-8") for file in files]
    lines = [line for text in texts for line in text.splitlines()]
    return {sample.name: sample for sample in map(_sample, lines)}


def recorded_jpeg() -> bytes:
    """Return a baseline JPEG of 8 by 8 pixels, as a server sent it."""
    return samples()["image-ok"].response.body


def progressive() -> bytes:
    """
    Return a JPEG with every trap in it.

    A thumbnail with an end marker of its own, fill bytes, a stuffed FF, a
    restart marker, tables between two scans, and bytes FF in a table.
    """

    def segment(marker: int, content: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content

    thumbnail = b"\xff\xd8" + segment(0xDA, b"\0") + b"small" + b"\xff\xd9"
    return b"".join(
        (
            b"\xff\xd8",
            segment(0xE0, b"JFIF\0"),
            segment(0xE1, b"Exif\0\0" + bytes(300) + thumbnail),
            b"\xff" + segment(0xC2, bytes(6)),
            segment(0xDA, bytes(6)) + b"first\xff\x00scan\xff\xd0again",
            segment(0xC4, bytes(300) + b"\xff\xd9\xff\xd9"),
            segment(0xDA, bytes(6)) + b"second\xff\xff\xd7scan",
            b"\xff\xd9",
        )
    )


def png() -> bytes:
    """Return a PNG of one grey pixel."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)
        )

    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
            chunk(b"tEXt", b"note\0IEND is only a word here"),
            chunk(b"IDAT", zlib.compress(b"\0\x80")),
            chunk(b"IEND", b""),
        )
    )


def webp() -> bytes:
    """Return a WebP of one pixel."""
    text = "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"
    return base64.b64decode(text)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Lay out a folder as people have them; ``me.jpg`` is the source."""
    from tests import fakes  # not before the certificates: it imports aiohttp

    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "me.jpg").write_bytes(fakes.jpeg(20_000))
    (folder / "a.jpg").write_bytes(fakes.jpeg(20_001))
    (folder / "b.jpeg").write_bytes(fakes.jpeg(20_002))
    (folder / "trip" / "a.jpg").write_bytes(fakes.jpeg(20_003))
    (folder / "notes.txt").write_text("no picture")
    (folder / "moving.gif").write_bytes(b"GIF89a" + bytes(40))
    (folder / ".thumb.jpg").write_bytes(fakes.jpeg(20_004))
    (folder / ".hidden" / "x.jpg").write_bytes(fakes.jpeg(20_005))
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    return folder
