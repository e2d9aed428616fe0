"""All results of a task: saved together or named, and a second call brings the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import attrs
import pytest

from ezlink_async import errors
from ezlink_async._io import result_sets
from ezlink_async._io.addresses import InlineResult, ResultAddress, Source
from ezlink_async._io.download import Downloader
from tests.support.cancelling import cancel
from tests.support.filesystems import names_in
from tests.support.movies import WEBM, mp4
from tests.support.pictures import jpeg, png
from tests.support.raw_servers import Connection, Server, answer, serving
from tests.support.transports import RecordedSleep, transport
from tests.support.uploads import temporary_files

CONTENTS = [jpeg(20_000), mp4(), png(), jpeg(700_000)]

NAMES = ["fox_1.jpg", "fox_2.mp4", "fox_3.png", "fox_4.jpg"]


@attrs.define
class Shelf:
    """A server with a result at each of the addresses ``/0``, ``/1``, ..."""

    answers: list[bytes] = attrs.field(
        factory=lambda: [answer(200, content) for content in CONTENTS]
    )
    asked: list[str] = attrs.field(factory=list)
    hold: asyncio.Event | None = None

    async def serve(self, conn: Connection) -> None:
        """Answer each request by its path."""
        while await conn.read_request():
            self.asked.append(conn.path)
            number = int(conn.path[1:])
            if self.hold and number:
                await self.hold.wait()
            conn.send(self.answers[number])


@attrs.define
class Beside:
    """Downloads beside a shelf."""

    shelf: Shelf
    downloads: Downloader
    server: Server

    def sources(self, count: int = 4) -> list[Source]:
        """Return the addresses of the first results."""
        return [[ResultAddress(f"{self.server.url}/{n}")] for n in range(count)]

    async def save(self, place: Path, count: int = 4) -> list[Path]:
        """Save the first results of task 7."""
        saved = await result_sets.save_all(
            self.downloads, self.sources(count), "7", place
        )
        return [each.path for each in saved]


@asynccontextmanager
async def beside_shelf(
    session: aiohttp.ClientSession | None = None,
) -> AsyncIterator[Beside]:
    shelf, sleep = Shelf(), RecordedSleep()
    async with (
        serving(shelf.serve) as server,
        transport(server.url, http=session, sleep=sleep) as there,
    ):
        yield Beside(shelf, Downloader(there, sleep), server)


async def test_each_result_is_saved_with_its_number_and_the_suffix_of_what_came(
    tmp_path: Path,
) -> None:
    async with beside_shelf() as here:
        assert await here.save(tmp_path / "new" / "fox") == [
            tmp_path / "new" / name for name in NAMES
        ]
        for name, content in zip(NAMES, CONTENTS, strict=True):
            assert (tmp_path / "new" / name).read_bytes() == content
        assert names_in(tmp_path / "new") == NAMES


async def test_only_result_has_no_number(tmp_path: Path) -> None:
    async with beside_shelf() as here:
        assert await here.save(tmp_path / "fox.v2", 1) == [tmp_path / "fox.v2.jpg"]


async def test_text_is_saved_beside_a_picture(tmp_path: Path) -> None:
    async with beside_shelf() as here:
        text = InlineResult("füchse".encode(), is_text=True)
        sources = [*here.sources(1), text]
        saved = await result_sets.save_all(
            here.downloads, sources, "7", tmp_path / "fox"
        )
        assert [each.path.name for each in saved] == ["fox_1.jpg", "fox_2.txt"]
        assert saved[1].path.read_text(encoding="utf-8") == "füchse"
        contents = await result_sets.read_all(here.downloads, sources, "7")
        assert contents == (CONTENTS[0], "füchse".encode())


async def test_error_names_what_is_there_and_a_second_call_brings_the_rest(
    tmp_path: Path,
) -> None:
    async with beside_shelf() as here:
        good, here.shelf.answers[2] = here.shelf.answers[2], answer(451, b"")
        with pytest.raises(errors.DownloadError) as caught:
            await here.save(tmp_path / "fox")
        error = caught.value
        there = [tmp_path / name for name in NAMES if name != NAMES[2]]
        assert error.saved == tuple(there)
        assert (error.task_id, error.status, error.gone) == ("7", 451, False)
        assert "1 of the 4 results of task 7" in str(error)
        assert all(str(path) in str(error) for path in there)
        assert names_in(tmp_path) == [path.name for path in there]
        here.shelf.answers[2] = good
        here.shelf.asked.clear()
        assert await here.save(tmp_path / "fox") == [tmp_path / name for name in NAMES]
        assert here.shelf.asked == ["/2"]


async def test_file_that_was_changed_or_is_missing_is_brought_again(
    tmp_path: Path,
) -> None:
    async with beside_shelf() as here:
        changed, missing, *_ = await here.save(tmp_path / "fox")
        changed.write_bytes(CONTENTS[0] + b"x")
        missing.unlink()
        here.shelf.asked.clear()
        await here.save(tmp_path / "fox")
        assert sorted(here.shelf.asked) == ["/0", "/1"]
        assert changed.read_bytes() == CONTENTS[0]
        assert missing.exists()


async def test_file_of_another_task_or_client_is_replaced(tmp_path: Path) -> None:
    """It is whole and as long as the new one, which proves nothing."""
    old = jpeg(20_000).replace(b"0", b"1")
    (tmp_path / "fox_1.jpg").write_bytes(old)
    async with beside_shelf() as here:
        first, *_ = await here.save(tmp_path / "fox")
        assert first.read_bytes() == CONTENTS[0]
        here.shelf.answers[0] = answer(200, old)
        sources = here.sources()
        await result_sets.save_all(here.downloads, sources, "8", tmp_path / "fox")
        assert first.read_bytes() == old


async def test_link_that_is_gone_is_known_among_others(tmp_path: Path) -> None:
    """The first error may be another one; the caller has the link renewed."""
    async with beside_shelf() as here:
        here.shelf.answers[0] = answer(451, b"")
        here.shelf.answers[3] = answer(404, b"")
        with pytest.raises(errors.DownloadError) as caught:
            await here.save(tmp_path / "fox")
        assert (caught.value.status, caught.value.gone) == (451, True)
        assert len(caught.value.saved) == 2


async def test_error_of_the_only_result_is_its_own(tmp_path: Path) -> None:
    async with beside_shelf() as here:
        here.shelf.answers[0] = answer(200, WEBM)
        with pytest.raises(errors.DownloadError, match="cannot be verified") as caught:
            await here.save(tmp_path / "fox", 1)
        assert caught.value.path == tmp_path / "fox.unverified"
        assert caught.value.saved == ()


async def test_no_result_is_saved_and_each_was_tried(tmp_path: Path) -> None:
    async with beside_shelf() as here:
        here.shelf.answers = [answer(451, b"")] * 2
        with pytest.raises(errors.DownloadError) as caught:
            await here.save(tmp_path / "fox", 2)
        assert caught.value.saved == ()
        assert "; saved" not in str(caught.value)
        assert sorted(here.shelf.asked) == ["/0", "/1"]


async def test_error_about_the_client_is_raised_as_it_is(tmp_path: Path) -> None:
    session = aiohttp.ClientSession()
    async with beside_shelf(session) as here:
        await session.close()
        with pytest.raises(errors.ConfigurationError, match="http="):
            await here.save(tmp_path / "fox")


async def test_all_results_are_read_in_order_or_none() -> None:
    async with beside_shelf() as here:
        contents = await result_sets.read_all(here.downloads, here.sources(), "7")
        assert list(contents) == CONTENTS
        here.shelf.answers[1] = answer(410, b"")
        with pytest.raises(errors.DownloadError) as caught:
            await result_sets.read_all(here.downloads, here.sources(), "7")
        assert caught.value.gone


async def test_cancelled_save_leaves_whole_files_which_a_second_call_knows(
    tmp_path: Path,
) -> None:
    async with beside_shelf() as here:
        here.shelf.hold = asyncio.Event()
        save = asyncio.create_task(here.save(tmp_path / "fox"))
        while not await here.downloads.known.unchanged("7", [tmp_path / "fox_1"]):
            await asyncio.sleep(0)
        await cancel(save)
        assert names_in(tmp_path) == ["fox_1.jpg"]
        here.shelf.hold.set()
        here.shelf.asked.clear()
        await here.save(tmp_path / "fox")
        assert sorted(here.shelf.asked) == ["/1", "/2", "/3"]
        assert names_in(tmp_path) == NAMES


async def test_results_are_opened_in_their_order() -> None:
    async with beside_shelf() as here:
        text = InlineResult("füchse".encode(), is_text=True)
        sources = [*here.sources(), text]
        streams = await result_sets.open_all(here.downloads, sources, "7")
        contents = [b"".join([block async for block in each]) for each in streams]
        assert contents == [*CONTENTS, "füchse".encode()]
        assert streams[-1].media_type == "text/plain"


async def test_one_result_that_fails_frees_those_that_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with beside_shelf() as here:
        here.shelf.answers[1] = answer(200, WEBM)
        with pytest.raises(errors.DownloadError, match="cannot be verified"):
            await result_sets.open_all(here.downloads, here.sources(), "7")
        assert temporary_files(tmp_path) == []


async def test_cancelled_opening_frees_those_that_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with beside_shelf() as here:
        here.shelf.answers[0] = answer(200, jpeg(700_000))
        here.shelf.hold = asyncio.Event()
        opening = asyncio.create_task(
            result_sets.open_all(here.downloads, here.sources(), "7")
        )
        while not temporary_files(tmp_path):
            await asyncio.sleep(0)
        await cancel(opening)
        assert temporary_files(tmp_path) == []
