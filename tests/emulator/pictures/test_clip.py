"""The stand-in for every video: a real one that carries its request."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ezlink_async.emulator.pictures.clip import SECONDS, clip_of
from tests.support.boxes import assert_whole_video, boxes, request_in

_CLIP = clip_of(b'{"prompt":"a cat"}')


def test_clip_is_a_small_whole_video() -> None:
    """The walk of its boxes ends at its end, and each frame lies in its media."""
    assert_whole_video(_CLIP, SECONDS)
    assert len(_CLIP) < 20_000


def test_clip_carries_its_request_in_a_last_box() -> None:
    assert [name for name, *_ in boxes(_CLIP)][-1] == "uuid"
    assert request_in(_CLIP) == {"prompt": "a cat"}
    assert clip_of(b"{}") != _CLIP


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="there is no ffprobe")
def test_ffprobe_reads_the_clip(tmp_path: Path) -> None:
    """A program that knows videos finds one stream of H.264 and all of its frames."""
    (tmp_path / "clip.mp4").write_bytes(_CLIP)
    asked = "stream=codec_name,width,height,nb_read_frames:format=duration"
    answer = subprocess.run(
        [
            *("ffprobe", "-v", "error", "-count_frames", "-of", "csv=p=0"),
            *("-show_entries", asked, str(tmp_path / "clip.mp4")),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    assert answer.stdout.split() == ["h264,320,180,24", "2.000000"]
    assert answer.stderr == ""
