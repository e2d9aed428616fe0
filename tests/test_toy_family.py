"""A family of tasks that only a test knows goes through every part of the package."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from ezlink_async import (
    ConfigurationError,
    DownloadError,
    EzlinkError,
    TaskFailedError,
    TaskStatus,
    TaskTimeoutError,
)
from ezlink_async._client.client import session_of
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import PollPolicy
from ezlink_async.batch import Order, run_jobs
from ezlink_async.emulator import EmulatorSettings, faults
from ezlink_async.requests import FaceSwap, Imagine, JobRequest
from ezlink_async.services.base import AnyRecord
from ezlink_async.services.endings import Ending
from ezlink_async.services.registry import FAMILIES, register
from tests.support.client_harness import POLL, EmulatedClient, emulated_client
from tests.support.pictures import jpeg
from tests.toy_family import (
    PICTURES,
    TOY,
    Toy,
    ToyFamily,
    ToyJob,
    ToyRecord,
    ToyServer,
)

BUTTON = "MJ::JOB::upsample::1::5f2c"


@asynccontextmanager
async def _toys() -> AsyncIterator[tuple[EmulatedClient, ToyServer]]:
    toys = ToyServer()
    async with emulated_client(EmulatorSettings(routes=toys.routes)) as here:
        yield here, toys


def _contents(paths: Sequence[Path]) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in paths)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_task_is_awaited_twice_and_all_its_results_are_saved(
    tmp_path: Path,
) -> None:
    async with _toys() as (here, toys):
        handle = await here.ez.submit(Toy("fox"))
        one, other = await asyncio.gather(handle, handle.result())
        paths = await handle.save_all(tmp_path / "fox")
        contents = await handle.read_all()
        with pytest.raises(ConfigurationError, match=r"2 results: use save_all\(\)"):
            await handle.read()

    assert one is other
    assert (one.status, len(one.results)) == (TaskStatus.SUCCESS, 2)
    assert [path.name for path in paths] == ["fox_1.png", "fox_2.jpg"]
    assert _contents(paths) == contents == PICTURES
    assert toys.words == ["fox"]
    assert toys.looks == {"t1": 2}


async def test_saved_handle_names_its_family_and_is_restored(tmp_path: Path) -> None:
    async with _toys() as (here, toys):
        pending = await here.ez.submit(Toy("fox"))
        early = pending.to_dict()
        await pending
        finished = pending.to_dict()
        handle = here.ez.restore(early)
        assert handle.family == "toy"
        assert await handle == await pending
        looks = dict(toys.looks)
        done = here.ez.restore(finished)
        assert _contents(await done.save_all(f"{tmp_path}/")) == PICTURES

    assert (early["family"], early["record"]) == ("toy", None)
    assert toys.looks == looks  # the record was saved
    assert _names(tmp_path) == ["t1_1.png", "t1_2.jpg"]


class _Doubtful(ToyFamily):
    """Believes an end the fourth time."""

    name = "doubtful"

    def __init__(self) -> None:
        self.ends = 0

    def judge(self, record: ToyRecord, before: ToyRecord | None) -> Ending | None:
        self.ends += record.is_terminal
        return super().judge(record, before) if self.ends > 3 else None


async def test_saved_end_that_its_family_does_not_believe_yet_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FAMILIES, _Doubtful.name, _Doubtful())
    async with _toys() as (here, toys):
        finished = await here.ez.submit(Toy("fox"))
        record = await finished
        saved = {**finished.to_dict(), "family": _Doubtful.name}
        assert await here.ez.restore(saved) == record

    assert toys.looks == {"t1": 4}


async def test_same_id_in_two_families_is_two_tasks() -> None:
    async with _toys() as (here, _):
        toy = await here.ez.submit(Toy("fox"))
        other = here.ez.task(toy.task_id)
        same = here.ez.task(toy.task_id, family="toy")
        assert (same, other.task_id) == (toy, toy.task_id)
        assert {handle.family for handle in here.ez.pending()} == {"toy", "midjourney"}
        with pytest.raises(ConfigurationError, match=r"no family .* 'doll'"):
            here.ez.task("7", family="doll")
        with pytest.raises(ConfigurationError, match=r"no family .* \[\]"):
            here.ez.task("7", family=[])  # type: ignore[call-overload]


async def test_task_of_another_family_is_no_parent_of_a_button() -> None:
    """Its id may be that of some task of Midjourney, and the button is charged."""
    async with _toys() as (here, _):
        handle = await here.ez.submit(Toy("fox"))
        failed = TaskFailedError("no", task_id="t1", record=ToyRecord(task_id="t1"))
        for task in (handle, failed):
            with pytest.raises(ConfigurationError, match=r"t1 .* of Midjourney"):
                await here.ez.midjourney.action(BUTTON, task)
        with pytest.raises(ConfigurationError, match="family 'toy'"):
            await here.ez.midjourney.image_seed(handle)

    assert [path for path in here.paths if path.startswith("/mj/")] == []


async def test_jobs_of_several_kinds_share_one_stream() -> None:
    async with _toys() as (here, toys):
        jobs: list[JobRequest[AnyRecord]] = [
            Toy("fox"),
            FaceSwap(jpeg(2_000), jpeg(3_000)),
            Toy("cat"),
        ]
        async with here.ez.submit_all(jobs) as outcomes:
            found = {outcome.request: outcome async for outcome in outcomes}
        kinds = {kind: found[kind].unwrap().family for kind in jobs}

    assert list(kinds.values()) == ["toy", "midjourney", "toy"]
    assert sorted(toys.words) == ["cat", "fox"]


async def test_queries_that_hang_delay_no_task_of_another_family() -> None:
    """40 of them are more than one family may have in flight."""
    async with _toys() as (here, _):
        here.server.control.standing("toy_fetch", faults.Stall())
        toys = [here.ez.task(f"t{number}", family="toy") for number in range(40)]
        swap = await here.ez.swap_face(jpeg(2_000), jpeg(3_000))
        assert (await swap).status is TaskStatus.SUCCESS
        assert not any(toy.done() for toy in toys)


async def test_request_may_ask_for_a_deadline_of_its_own() -> None:
    class Brief(Toy):
        deadline = 0.05

    poll = PollPolicy(first=POLL.first, shortest=POLL.shortest, longest=POLL.longest)
    toys = ToyServer()
    settings = EmulatorSettings(routes=toys.routes)
    async with emulated_client(settings, poll=poll) as here:
        here.server.control.standing("toy_fetch", faults.Stall())
        with pytest.raises(TaskTimeoutError, match=r"0\.05 s after acceptance") as late:
            await (await here.ez.submit(Brief("fox")))
        assert late.value.task_id == "t1"
        here.server.control.standing("toy_fetch", None)
        assert await here.ez.task("t1", family="toy")


async def test_deadline_of_the_client_holds_for_a_request_with_one_of_its_own() -> None:
    class Patient(Toy):
        deadline = 3_900.0

    toys = ToyServer()
    settings = EmulatorSettings(routes=toys.routes)
    poll = attrs.evolve(POLL, deadline=0.05)
    async with emulated_client(settings, poll=poll) as here:
        here.server.control.standing("toy_fetch", faults.Stall())
        with pytest.raises(TaskTimeoutError, match=r"0\.05 s after acceptance"):
            await (await here.ez.submit(Patient("fox")))


async def test_answer_on_which_a_job_crashes_may_be_paid(tmp_path: Path) -> None:
    """The budget counts it, and the run goes on."""
    async with _toys() as (here, toys):
        answer = faults.Answer(200, "{}", "application/json", job=True)
        here.server.control.script("toy", answer)
        orders = [Toy(word) for word in ("fox", "cat", "owl")]
        async with run_jobs(here.ez, orders, output=tmp_path, budget=2) as run:
            outcomes = [outcome async for outcome in run]

    assert sorted(each.status for each in outcomes) == [
        *("skipped", "succeeded", "unknown"),
    ]
    assert len(toys.words) == 2


async def test_job_that_crashes_before_it_is_sent_is_surely_unpaid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(_: ToyJob) -> HttpRequest:
        raise KeyError("word")

    async with _toys() as (here, toys):
        with monkeypatch.context() as patched:
            patched.setattr(ToyJob, "request", crash)
            with pytest.raises(EzlinkError, match=r"KeyError\('word'\)") as crashed:
                await here.ez.submit(Toy("fox"))
        assert crashed.value.retry_safe
        await (await here.ez.submit(Toy("fox")))

    assert toys.words == ["fox"]


async def test_several_results_replace_no_other_picture(tmp_path: Path) -> None:
    """The name of the second one is taken, by a picture of the user's own."""
    (tmp_path / "fox_2.jpg").write_bytes(jpeg(2_000))
    async with (
        _toys() as (here, _),
        run_jobs(here.ez, [Toy("fox")], output=tmp_path) as run,
    ):
        (fox,) = [outcome async for outcome in run]

    assert _contents(fox.outputs) == PICTURES
    assert (tmp_path / "fox_2-kept.jpg").read_bytes() == jpeg(2_000)


async def test_several_results_meet_no_result_of_another_job(tmp_path: Path) -> None:
    """The name of the first one is that of another order."""
    orders = [Order.of(Imagine("a fox"), output="fox_1"), Order.of(Toy("fox"))]
    async with _toys() as (here, _):
        outcomes = await _run(here, orders, tmp_path)
        again = await _run(here, orders, tmp_path)

    assert [path.name for path in outcomes["a fox"][1]] == ["fox_1.png"]
    assert [path.name for path in outcomes["fox"][1]] == ["fox-2_1.png", "fox-2_2.jpg"]
    assert {label: paths for label, (_, paths) in again.items()} == {
        label: paths for label, (_, paths) in outcomes.items()
    }


async def test_batch_goes_on_where_it_was_left(tmp_path: Path) -> None:
    """What the first run has paid, the second one fetches; no word is sent twice."""
    orders = [Order.of(Toy(word)) for word in ("fox", "cat", "owl")]
    async with _toys() as (here, toys):
        toys.is_held = True
        running = asyncio.create_task(_run(here, orders, tmp_path))
        while len(toys.words) < len(orders):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        toys.is_held = False
        outcomes = await _run(here, orders, tmp_path)
        again = await _run(here, orders, tmp_path)

    assert sorted(toys.words) == ["cat", "fox", "owl"]
    assert {status for status, _ in outcomes.values()} == {"succeeded"}
    assert {status for status, _ in again.values()} == {"skipped"}
    for word, (_, paths) in outcomes.items():
        assert [path.name for path in paths] == [f"{word}_1.png", f"{word}_2.jpg"]
        assert _contents(paths) == PICTURES


async def _run(
    here: EmulatedClient, orders: Sequence[Order], folder: Path
) -> dict[str, tuple[str, tuple[Path, ...]]]:
    found = {}
    async with run_jobs(here.ez, orders, output=folder / "out") as run:
        async for outcome in run:
            found[outcome.label] = str(outcome.status), outcome.outputs
    return found


def test_name_of_a_family_or_kind_is_given_once() -> None:
    register(TOY, Toy)
    assert FAMILIES["toy"] is TOY
    with pytest.raises(ConfigurationError, match="another family 'toy'"):
        register(ToyFamily())

    class Other(Toy):
        kind = "swap"

    with pytest.raises(ConfigurationError, match="another kind 'swap'"):
        register(TOY, Other)


class Renewing(ToyFamily):
    """Drawings whose links are renewed for nothing."""

    name = "renewing"

    def renew(self, record: ToyRecord) -> HttpRequest:
        """Ask for the drawing again."""
        return self.fetch_request(record.task_id)


@pytest.mark.parametrize("family", [Renewing(), TOY])
async def test_link_that_is_gone_is_renewed_where_that_costs_nothing(
    family: ToyFamily,
) -> None:
    async with _toys() as (here, toys):
        record = await (await here.ez.submit(Toy("fox")))
        looks = toys.looks["t1"]
        here.server.control.script("toy_picture", *[faults.Answer(410)] * 4)
        handle = session_of(here.ez).finished(record, family)
        if family is TOY:
            with pytest.raises(DownloadError, match="the link is gone") as gone:
                await handle.read_all()
            assert (gone.value.gone, toys.looks["t1"]) == (True, looks)
        else:
            assert await handle.read_all() == PICTURES
            assert toys.looks["t1"] == looks + 1


class _Emptied(Renewing):
    """Drawings of which the server has forgotten the pictures."""

    def read(self, response: HttpResponse, task_id: str) -> ToyRecord:
        return attrs.evolve(super().read(response, task_id), urls=())


async def test_renewed_record_without_results_says_that_they_are_gone(
    tmp_path: Path,
) -> None:
    """The link of the second one is gone; the first one is there."""
    async with _toys() as (here, toys):
        record = await (await here.ez.submit(Toy("fox")))
        looks = toys.looks["t1"]
        here.server.control.script(
            "toy_picture", faults.Delay(0), *[faults.Answer(410)] * 3
        )
        handle = session_of(here.ez).finished(record, _Emptied())
        with pytest.raises(DownloadError, match="no longer has the result") as gone:
            await handle.save_all(tmp_path / "fox")

    assert (gone.value.gone, gone.value.status) == (True, 410)
    assert (gone.value.task_id, gone.value.maybe_charged) == ("t1", True)
    assert isinstance(gone.value.__cause__, DownloadError)
    assert toys.looks["t1"] == looks + 1
