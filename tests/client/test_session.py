"""What a session does apart from the event loop."""

from __future__ import annotations

import threading

import pytest

from ezlink_async.errors import ConfigurationError
from ezlink_async.requests import AsyncImage, Flux, Video
from ezlink_async.services.base import AnyRecord, JobRequest, LoadedImage
from ezlink_async.services.flux.jobs import FluxJob
from ezlink_async.services.image_generation.jobs import ImagesJob
from ezlink_async.services.video.jobs import VideoJob
from tests.support.client_harness import emulated_client

LONG = "QUJD" * 500_000
"""Base64 that a provider takes as a text; 2 MB."""

_written = list[str]()


def _note_thread() -> None:
    _written.append(threading.current_thread().name)


class _Video(Video):
    """Notes the thread that writes its JSON."""

    def job(self, pictures: tuple[LoadedImage, ...]) -> VideoJob:
        """Return the job, whose body is written here."""
        _note_thread()
        return super().job(pictures)


class _Flux(Flux):
    """Notes the thread that writes its JSON."""

    def job(self, pictures: tuple[LoadedImage, ...]) -> FluxJob:
        """Return the job, whose body is written here."""
        _note_thread()
        return super().job(pictures)


class _Images(AsyncImage):
    """Notes the thread that writes its JSON."""

    def job(self, pictures: tuple[LoadedImage, ...]) -> ImagesJob:
        """Return the job, whose body is written here."""
        _note_thread()
        return super().job(pictures)


@pytest.mark.parametrize("text", ["short", LONG], ids=["short", "long"])
async def test_only_a_job_with_long_texts_is_written_in_a_thread(text: str) -> None:
    """20 MB of base64 in a body would stop the loop for 50 ms."""
    _written.clear()
    requests: tuple[JobRequest[AnyRecord], ...] = (
        _Video("kling-v1", {"prompt": "a", "image": text}),
        _Flux("flux-2-pro", "a", extra={"input_image_2": [{"of": text}]}),
        _Images("kling-v2", "a", body={"image": text}),
    )
    async with emulated_client() as both:
        for request in requests:
            await both.ez.submit(request)
        assert len(both.server.control.forwarded) == len(requests)
    here = threading.current_thread().name
    assert len(_written) == len(requests)
    assert {name == here for name in _written} == {text is not LONG}


class _Once(Flux):
    """A job that one client sends once."""

    @property
    def once(self) -> str:
        """A key that all of them share."""
        return "the picture of a fox"


async def test_job_of_a_kind_that_is_sent_once_is_refused_the_second_time() -> None:
    """A kind that has no word for "again" has no second time."""
    async with emulated_client() as both:
        await both.ez.submit(_Once("flux-2-pro", "a fox"))
        with pytest.raises(ConfigurationError, match="a fox was sent already"):
            await both.ez.submit(_Once("flux-2-pro", "a fox"))
        assert both.tasks == 1
