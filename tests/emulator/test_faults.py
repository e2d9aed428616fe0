"""Faults on demand: the bytes sent, the tasks made, the charges."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from ezlink_async.emulator import (
    RANDOM_FAULTS,
    Emulator,
    faults,
    read_hashes,
    read_random_faults,
    scripts,
    serving,
)
from tests.support.emulator_requests import (
    FETCH,
    LIST,
    SWAP,
    RawApi,
    headers,
    picture,
    swap_body,
    until,
)
from tests.support.wire import RawConnection

_BIG = swap_body("s", "t", padding="x" * 3_000_000)
_NUMBER = ("X-Request-ID", "one")
_BOTH = pytest.mark.parametrize("job", [True, False])


# Faults of the connection


@pytest.mark.parametrize("reset", [True, False])
@_BOTH
async def test_drop_sends_no_answer(
    emu: Emulator, api: RawApi, *, job: bool, reset: bool
) -> None:
    """The connection ends without an answer; with *job* the task is charged."""
    emu.control.script("submit", faults.Drop(job=job, reset=reset))

    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await api.post(SWAP, swap_body(), _NUMBER)

    assert len(emu.control.tasks) == len(emu.control.charges) == job
    assert emu.control.attempts.get("one", 0) == job


async def test_reset_drop_comes_within_the_body(emu: Emulator) -> None:
    """After *after_bytes* of the body the client gets a reset; no task is made."""
    emu.control.script("submit", faults.Drop(after_bytes=500_000, reset=True))

    async with RawConnection(emu.base_url) as raw:
        await raw.send("POST", SWAP, headers(emu, _NUMBER), _BIG)
        with pytest.raises(ConnectionResetError):
            await raw.response()

    assert emu.control.uploads == {}
    assert emu.control.tasks == []


async def test_stall_within_the_body_stops_the_upload() -> None:
    """The server reads no more, and the connection ends when the server does."""
    async with serving() as emu:
        emu.control.script("submit", faults.Stall(after_bytes=1000))
        raw = await RawConnection(emu.base_url).__aenter__()
        await raw.send("POST", SWAP, headers(emu, _NUMBER), b"x" * 60_000_000)
        await until(lambda: emu.control.requests)
        await RawApi(emu).submit()
        # far more than sockets hold is still here
        assert raw.writer.transport.get_write_buffer_size() > 30_000_000

    with pytest.raises(ConnectionError):
        await raw.writer.drain()
    assert emu.control.attempts.get("one") is None


async def test_stall_with_job_charges_and_sends_nothing() -> None:
    """The submit is a charged task, and its answer never starts."""
    async with serving() as emu:
        emu.control.script("submit", faults.Stall(job=True))
        raw = await RawConnection(emu.base_url).__aenter__()
        await raw.send("POST", SWAP, headers(emu, _NUMBER), swap_body())
        await until(lambda: emu.control.charges)

    with contextlib.suppress(ConnectionError):
        assert await raw.reader.read() == b""
    raw.writer.transport.abort()
    assert emu.control.uploads == {"one": 1}


@_BOTH
async def test_garbage_is_sent_as_it_is(emu: Emulator, *, job: bool) -> None:
    """The content arrives and the connection ends; with *job* a task is made."""
    emu.control.script("submit", faults.Garbage("hello there", job=job))

    async with RawConnection(emu.base_url) as raw:
        await raw.send("POST", SWAP, headers(emu), swap_body())
        assert await raw.reader.read() == b"hello there"

    assert len(emu.control.tasks) == job


@_BOTH
async def test_delay_does_not_change_the_answer(
    emu: Emulator, api: RawApi, *, job: bool
) -> None:
    emu.control.script("submit", faults.Delay(0.01, job=job))

    assert await api.submit() == emu.control.tasks[0].task_id


@pytest.mark.parametrize("keep", [0, 10])
async def test_cut_announces_the_whole_answer(
    keep: int, emu: Emulator, api: RawApi
) -> None:
    """The connection ends before the announced length; the task is charged."""
    emu.control.script("submit", faults.Cut(keep))

    with pytest.raises(asyncio.IncompleteReadError):
        await api.post(SWAP, swap_body())

    assert len(emu.control.charges) == 1


# Answers of proxies


@_BOTH
@pytest.mark.parametrize("status", [502, 503, 504, 520])
async def test_proxy_page_may_hide_a_task(
    status: int, emu: Emulator, api: RawApi, *, job: bool
) -> None:
    """The client gets a page of nginx; with *job* the server made the task."""
    emu.control.script("submit", faults.proxy(status, job=job))

    response = await api.post(SWAP, swap_body())

    assert response.status == status
    assert response.header("X-Request-Id") is None
    assert b"<center>nginx</center>" in response.body
    assert len(emu.control.charges) == job


async def test_proxy_refuses_a_length_before_the_body(emu: Emulator) -> None:
    """A 413 comes before the body is sent, and the connection closes."""
    emu.control.script("submit", faults.proxy(413))

    async with RawConnection(emu.base_url) as raw:
        await raw.send_head("POST", SWAP, headers(emu), len(_BIG))
        response = await raw.response()

    assert (response.status, response.header("Connection")) == (413, "close")
    assert emu.control.uploads == {}


@pytest.mark.parametrize("html", [True, False])
async def test_limiter_answers_429_with_a_page_or_nothing(
    emu: Emulator, api: RawApi, *, html: bool
) -> None:
    emu.control.script("submit", faults.limiter(html=html))

    response = await api.post(SWAP, swap_body())

    assert (response.status, bool(response.body)) == (429, html)


async def test_answer_replaces_the_server(emu: Emulator, api: RawApi) -> None:
    """Status, body and headers are those of the fault, and no task is made."""
    location = (("Location", "https://elsewhere.example/"),)
    emu.control.script("submit", faults.Answer(307, "", None, headers=location))

    response = await api.post(SWAP, swap_body())

    assert response.status == 307
    assert response.header("Location") == "https://elsewhere.example/"
    assert emu.control.charges == []


# Trouble inside the relay


@pytest.mark.parametrize(
    ("word", "status", "text"),
    [
        ("token_verification", 401, "Token verification failed"),
        ("user_lookup", 500, "no such table"),
        ("no_channel", 503, "There are no channels"),
        ("user_quota_lookup", 400, "Failed to get user quota Error"),
        ("panic", 500, ""),
    ],
)
async def test_trouble_makes_no_task(
    word: str, status: int, text: str, emu: Emulator, api: RawApi
) -> None:
    """Each trouble has the answer of the server, and no task and no charge."""
    emu.control.script("submit", faults.Trouble(word))

    response = await api.post(SWAP, swap_body())

    assert response.status == status
    assert text in response.body.decode()
    assert (emu.control.tasks, emu.control.charges) == ([], [])


async def test_failed_insert_is_charged(emu: Emulator, api: RawApi) -> None:
    """The upstream has the task, it is charged, and the relay has no row of it."""
    emu.control.script("submit", faults.Trouble("insert_failed"))

    response = await api.post(SWAP, swap_body())

    assert b"insert_midjourney_task_failed " in response.body
    task = emu.control.tasks[0]
    assert [charge.task_id for charge in emu.control.charges] == [task.task_id]
    assert (await api.get(f"/mj/task/{task.task_id}/fetch")).status == 400


async def test_queued_task_is_not_charged(emu: Emulator, api: RawApi) -> None:
    """The trouble turns code 1 into 22, and leaves a refusal as it is."""
    emu.control.standing("submit", faults.Trouble("queued"))

    assert (await api.post(SWAP, swap_body())).fields()["code"] == 22
    assert emu.control.charges == []
    assert len(emu.control.tasks) == 1
    assert (await api.post(SWAP, swap_body("s", "s"))).fields()["code"] == 4


# Rows and pictures


async def test_rows_of_a_list_are_falsified(emu: Emulator, api: RawApi) -> None:
    """Rows are left out, repeated, reversed and overwritten."""
    ids = [await api.submit("s", name) for name in "tu"]
    emu.control.script(
        "list",
        faults.Rows(omit=()),
        faults.Rows(omit=(ids[0],)),
        faults.Rows(repeat=True),
        faults.Rows(backwards=True),
        faults.Rows(change={"status": "ODD", "startTime": 0}),
    )

    lists = []
    for _ in range(5):
        rows = await api.rows(*ids)
        lists.append([(row["id"], row["status"] == "ODD") for row in rows])

    first, second = [(one, False) for one in ids]
    assert lists[:4] == [[], [second], [first, first, second, second], [second, first]]
    assert lists[4] == [(ids[0], True), (ids[1], True)]


async def test_fetch_of_an_omitted_row_is_an_unknown_id(
    emu: Emulator, api: RawApi
) -> None:
    task_id = await api.submit()
    emu.control.script("fetch", faults.Rows(omit=()))

    assert (await api.get(f"/mj/task/{task_id}/fetch")).status == 400
    assert (await api.get(f"/mj/task/{task_id}/fetch")).status == 200


async def test_truncated_picture_has_a_clean_end(emu: Emulator, api: RawApi) -> None:
    """A truncated picture is a good answer with fewer bytes; a cut one is broken."""
    path = f"/mj/image/{await api.swapped()}"
    emu.control.script("image", faults.Picture(keep=100), faults.Cut(100))

    cut = await api.get(path)
    with pytest.raises(asyncio.IncompleteReadError):
        await api.get(path)
    whole = await api.get(path)

    assert (cut.status, len(cut.body)) == (200, 100)
    assert whole.body.startswith(cut.body)
    assert read_hashes(whole.body)[1] == emu.control.tasks[0].target_sha256


async def test_slow_picture_arrives_whole_in_chunks(emu: Emulator, api: RawApi) -> None:
    task_id = await api.swapped()
    emu.control.script("image", faults.Picture(drip=0.001, block=100))

    response = await api.image(task_id)

    assert response.header("Transfer-Encoding") == "chunked"
    assert response.body.endswith(picture("t")[-50:])


async def test_failed_task_has_no_picture(emu: Emulator, api: RawApi) -> None:
    """The relay has no address to ask, so the picture's server does not matter."""
    emu.control.script_tasks(scripts.fails())
    task_id = await api.submit()
    await api.fetch_end(task_id)
    page = faults.Picture(content="page", content_type="text/html")
    emu.control.script("image", page)

    assert (await api.image(task_id)).status == 500


# Which request meets which fault


async def test_each_request_takes_the_next_fault(emu: Emulator, api: RawApi) -> None:
    """After the last scripted fault requests are answered as usual."""
    emu.control.script("submit", faults.limiter(), faults.queue_full())

    statuses = [(await api.post(SWAP, swap_body())).status for _ in range(3)]

    assert statuses == [429, 400, 200]


async def test_standing_fault_lasts_until_none_replaces_it(
    emu: Emulator, api: RawApi
) -> None:
    emu.control.standing("fetch", faults.Answer(404))
    statuses = [(await api.get(FETCH)).status for _ in range(2)]
    emu.control.standing("fetch", None)

    assert [*statuses, (await api.get(FETCH)).status] == [404, 404, 400]


def test_unknown_kind_of_request_is_a_value_error(ezlink_emulator: Emulator) -> None:
    """A typing error in a kind raises instead of scripting a fault in vain."""
    with pytest.raises(ValueError, match="no such kind of request"):
        ezlink_emulator.control.script("nowhere", faults.limiter())


@pytest.mark.parametrize("wrong", [500, "drop", faults.Drop, None])
def test_what_is_no_fault_is_refused_at_once(
    ezlink_emulator: Emulator, wrong: faults.Fault
) -> None:
    """A number, a name, or a class that was not called."""
    control = ezlink_emulator.control
    with pytest.raises(TypeError, match="is no fault"):
        control.script("submit", faults.Drop(), wrong)
    if wrong is not None:
        with pytest.raises(TypeError, match="is no fault"):
            control.standing("submit", wrong)
    control.assert_all_played()


@pytest.mark.parametrize(
    "make",
    [
        lambda: faults.Trouble("panik"),
        lambda: faults.Upstream(broken="twice"),
        lambda: faults.Answer(5),
        lambda: faults.Answer("500"),  # type: ignore[arg-type]
        lambda: faults.Delay(-1),
        lambda: faults.Mixture(((0.6, faults.Drop()), (0.6, faults.Stall()))),
        lambda: faults.Mixture(((-0.1, faults.Drop()),)),
        lambda: faults.Mixture(((0.1, 500),)),  # type: ignore[arg-type]
        lambda: faults.Life("fails"),  # type: ignore[arg-type]
    ],
)
def test_fault_with_a_wrong_word_or_number_is_refused_at_once(
    make: Callable[[], object],
) -> None:
    with pytest.raises((ValueError, TypeError)):
        make()


async def test_fault_is_played_once_a_request_has_met_it(
    emu: Emulator, api: RawApi
) -> None:
    """Until then the control names it; so it does with a standing one."""
    control = emu.control
    control.assert_all_played()
    control.script("fetch", faults.limiter())
    control.standing("list", faults.limiter())
    control.standing("image", faults.limiter())
    with pytest.raises(AssertionError, match="fetch: Answer") as caught:
        control.assert_all_played()
    assert "list: Answer" in str(caught.value)
    assert "image: Answer" in str(caught.value)

    await api.get(FETCH)
    await api.post(LIST)
    control.standing("image", None)

    control.assert_all_played()
    control.script("fetch", faults.limiter())
    control.reset()
    control.assert_all_played()


async def test_mixture_plays_each_fault_at_its_rate(emu: Emulator, api: RawApi) -> None:
    """Rates of one together leave no request alone, a rate of none each."""
    teapots = tuple((0.5, faults.Answer(status)) for status in (418, 419))
    emu.control.standing("fetch", faults.Mixture(teapots))
    assert {(await api.get(FETCH)).status for _ in range(40)} == {418, 419}
    emu.control.standing("fetch", faults.Mixture(((0.0, faults.Answer(418)),)))
    assert (await api.get(FETCH)).status == 400


async def test_life_goes_before_the_scripts_to_come(emu: Emulator, api: RawApi) -> None:
    emu.control.script_tasks(scripts.stuck("SUBMITTED"))
    emu.control.script("submit", faults.Life(scripts.fails("why")))
    first, second = await api.submit(), await api.submit()

    assert (await api.fetch(first))["failReason"] == "why"
    assert (await api.fetch(second))["status"] == "SUBMITTED"


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["lots:0.1"], "kinds: busy, "),
        (["lost"], "'lost': the rate is a number"),
        (["lost:often"], "a number from 0 to 1"),
        (["lost:nan"], "a number from 0 to 1"),
        (["lost:1.5"], "a number from 0 to 1"),
        (["lost:0.6", "busy:0.6"], "together at most 1"),
    ],
)
def test_random_fault_that_cannot_be_read_is_a_value_error(
    texts: list[str], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        read_random_faults(texts)


async def test_random_faults_strike_their_kinds_of_request(emu: Emulator) -> None:
    """Every name is one, and the faults of one kind share it."""
    texts = [f"{name}:0.1" for name in RANDOM_FAULTS]
    mixtures = read_random_faults(texts)

    for kind, mixture in mixtures.items():
        emu.control.standing(kind, mixture)
    drawn = ("imagine", "blend", "describe", "shorten", "action", "modal", "change")
    families = (
        ("submit", "fetch", "image"),
        ("video", "video_result", "video_file"),
        ("images", "images_result", "picture"),
        ("flux", "flux_result", "picture"),
    )
    assert set(mixtures) == {*drawn, *(kind for each in families for kind in each)}
    assert all(mixtures[kind] == mixtures["submit"] for kind in drawn)
    for kinds in families:
        counts = [len(mixtures[kind].shares) for kind in kinds]
        assert sum(counts) == len(RANDOM_FAULTS)


def test_random_fault_of_pictures_strikes_no_submit() -> None:
    struck = read_random_faults(["cut:0.5"])
    assert set(struck) == {"image", "video_file", "picture"}


@pytest.mark.parametrize(("name", "status"), [("busy", 429), ("refused", 400)])
@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/video/generations", "kling-v1"),
        ("/v1/async/images/generations", "kling-v2"),
        ("/v1/async/images/generations", "wan2.5-i2i-preview"),
        ("/v1/async/images/generations", "flux-2-pro"),
        ("/flux/v1/flux-2-pro", "flux-2-pro"),
    ],
)
async def test_random_refusal_is_one_in_every_family(
    name: str, status: int, path: str, model: str, emu: Emulator, api: RawApi
) -> None:
    """The answer that refuses a swap would be a paid video without an id."""
    for kind, mixture in read_random_faults([f"{name}:1"]).items():
        emu.control.standing(kind, mixture)

    answer = await api.post(path, f'{{"model":"{model}"}}'.encode())

    assert answer.status == status
    assert b'"error":' in answer.body
    assert emu.control.tasks == []
    assert emu.control.charged == 0
