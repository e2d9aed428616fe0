# ruff: noqa: ASYNC240, T201 - a small script may block, and print
"""
A typical user's program: read by type checkers, never run.

Each annotated assignment here is a promise about the public signatures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion

from ezlink_async import (
    AccountFilter,
    AsyncEzlink,
    Event,
    EzlinkError,
    FluxRecord,
    Image,
    ImagesRecord,
    Mode,
    PollPolicy,
    RetryPolicy,
    StabilityImage,
    StabilityRecord,
    SubmitFailed,
    SwapOutcome,
    TaskChanged,
    TaskFinished,
    TaskHandle,
    TaskRecord,
    TaskStatus,
    Timeouts,
    __version__,
)
from ezlink_async.batch.outcomes import BatchOutcome, BatchSummary
from ezlink_async.batch.pairs.matching import Pair, manifest
from ezlink_async.batch.run import BatchRun, run_batch
from ezlink_async.batch.spending import Charges
from ezlink_async.errors import (
    ApiError,
    BusyError,
    ImageError,
    JournalError,
    SubmitUnknownError,
    TaskFailedError,
    TaskTimeoutError,
    WebhookError,
)
from ezlink_async.llm import checked, checked_stream
from ezlink_async.models import KeyQuota, ModelInfo, UploadedFile
from ezlink_async.report import report_on
from ezlink_async.requests import AsyncImage, Flux
from ezlink_async.services.account import AccountBalance, Charge
from ezlink_async.webhook import WebhookReceiver, parse_hook

version: str = __version__


def note(event: Event) -> None:
    """Print what events say."""
    task_id: str | None = event.task_id
    match event:
        case TaskChanged():
            status: TaskStatus = event.new
            print(task_id, status)
        case TaskFinished(error=error):
            known: EzlinkError | None = error
            print(task_id, known)
        case SubmitFailed():
            fault: Exception = event.error
            print(event.kind, fault, event.request_id)
        case _:
            print(event.at)


async def watched() -> TaskRecord:
    """Await one swap, with its events."""
    async with AsyncEzlink(on_event=note) as ez:
        return await (await ez.swap_face("me.jpg", "team.jpg"))


def receiver() -> WebhookReceiver:
    """Make a receiver of callbacks, and a client that is called back."""
    made = WebhookReceiver("https://app.example/hooks", secret=b"sixteen bytes or more")
    client: AsyncEzlink = AsyncEzlink(webhook=made)
    hook: str = made.hook_url("a state")
    print(client, hook, made.aiohttp_routes(), made.aiohttp_handler, made.asgi)
    return made


async def callback(token: str, body: bytes) -> int:
    """Take a callback that came elsewhere."""
    try:
        record: TaskRecord = await receiver().deliver(token, body)
    except WebhookError as error:
        return error.answer
    return 204 if record == parse_hook(body) else 404


async def one_picture() -> Path:
    """Swap one face and save the result."""
    async with AsyncEzlink(api_key="sk-...", max_concurrency=8) as ez:
        handle: TaskHandle = await ez.swap_face(source="me.jpg", target="team.jpg")
        record: TaskRecord = await handle
        url: str | None = record.image_url
        status: TaskStatus = handle.status
        print(url, str(status), handle.done(), handle.task_id)
        content: bytes = await handle.read()
        print(len(content))
        return await handle.save("out/team.jpg")


async def files_and_models(ez: AsyncEzlink, blocks: AsyncIterator[bytes]) -> float:
    """Store files, list models, and ask what the key may spend."""
    file: UploadedFile = await ez.files.upload(Path("a.mp4"), purpose="vision")
    more: UploadedFile = await ez.files.upload(blocks, name="b.mp4", length=1_000)
    url: str = file.url or more.url
    models: tuple[ModelInfo, ...] = await ez.models("kling")
    quota: KeyQuota = await ez.account.key()
    left: float | None = quota.rest
    print(url, [model.id for model in models], quota.unlimited)
    return left or 0.0


async def the_account(ez: AsyncEzlink) -> list[TaskRecord]:
    """Ask what the account has and what it was charged."""
    balance: AccountBalance = await ez.account.balance()
    charge: Charge | None = await ez.account.charged("a-request-id")
    print(balance.units, balance.dollars, charge.units if charge else 0)
    found: tuple[TaskRecord, ...] = await ez.account.find(state="mine")
    return list(found)


async def pictures(ez: AsyncEzlink) -> tuple[Path, ...]:
    """Make pictures that are no grids."""
    fox: TaskHandle[FluxRecord] = await ez.flux.generate("flux-2-pro", "a fox", seed=7)
    seed: int | None = (await fox).seed
    four: TaskHandle[ImagesRecord] = await ez.images.generate_async(
        AsyncImage("wan2.5-i2i-preview", "a fox", n=4, body={"seed": seed})
    )
    urls: tuple[str, ...] = (await four).urls
    cat: TaskHandle[FluxRecord] = await ez.submit(Flux("flux-2-pro", "a cat"))
    print(urls, await cat.save("cat.png"))
    return await four.save_all("foxes")


async def orders() -> AsyncIterator[Pair | tuple[str, str]]:
    """Yield pairs from a program's own source."""
    yield Pair(Path("me.jpg"), Path("team.jpg"), "album/cover")
    yield "me.jpg", "party.jpg"


async def a_batch(ez: AsyncEzlink) -> Path:
    """Swap a folder with a journal, in each way of naming it."""
    run: BatchRun = run_batch(ez, "me.jpg", Path("photos"), output="out")
    try:
        async with run:
            async for outcome in run:
                found: BatchOutcome = outcome
                print(found.target, found.status, found.fault, found.resumable)
    except JournalError as error:
        print(error)
    summary: BatchSummary = run.summary
    charges: Charges | None = summary.charges
    print(summary.counts["failed"], summary.total, charges)
    run_batch(ez, "me.jpg", ["a.jpg", "trip"], output="out", existing="replace")
    run_batch(ez, None, orders(), output="out", budget=100, journal="j.sqlite3")
    run_batch(ez, None, manifest(Path("swaps.csv")), output=Path("out"))
    run_batch(ez, None, [("me.jpg", "a.jpg")], output="out", mode=Mode.FAST)
    return report_on(Path("out"))


async def every_option() -> TaskHandle:
    """Give each argument once."""
    ez = AsyncEzlink(
        base_url="https://api.ezlinkai.com",
        account_token=None,
        slot_timeout=60,
        retry=RetryPolicy(first=0.5, attempts=6, resubmit_unknown=False),
        poll=PollPolicy(first=2, deadline=900),
        timeouts=Timeouts(submit=90),
        allow_insecure=False,
    )
    async with ez:
        return await ez.swap_face(
            Image.from_path(Path("me.jpg")),
            b"...",
            state="mine",
            notify_hook="https://hook.example/",
            account_filter=AccountFilter(instance_id="i"),
            mode=Mode.FAST,
        )


async def a_folder(targets: AsyncIterator[Path]) -> list[str]:
    """Swap many targets, from a plain and from an asynchronous iterable."""
    failed: list[str] = []
    async with AsyncEzlink() as ez:
        async with ez.swap_faces("me.jpg", Path("photos").rglob("*.jpg")) as outcomes:
            async for outcome in outcomes:
                failed += describe(outcome)
        async for relaxed in ez.swap_faces("me.jpg", targets, mode="relax"):
            failed += describe(relaxed)
        async for paired in ez.swap_faces(None, [("me.jpg", "a.jpg")]):
            failed += describe(paired)
    return failed


def describe(outcome: SwapOutcome) -> list[str]:
    """Describe an outcome that is an error."""
    error: EzlinkError | None = outcome.error
    record: TaskRecord | None = outcome.record
    handle: TaskHandle | None = outcome.handle
    if error is not None:
        return [f"{outcome.target!r}: {error} ({error.task_id}, {error.maybe_charged})"]
    print(outcome.source, record, handle)
    return []


async def later(saved: dict[str, object]) -> None:
    """Resume tasks in another process."""
    async with AsyncEzlink() as ez:
        handle: TaskHandle = ez.task("1733213213123456")
        again: TaskHandle = ez.restore(saved)
        async for record in handle.updates():
            progress: float | None = record.progress
            print(progress)
        known: dict[str, TaskRecord] = await ez.fetch_tasks(["1", "2"])
        one: TaskRecord = await ez.fetch_task("1")
        waiting: tuple[TaskHandle, ...] = ez.pending()
        kept: dict[str, object] = again.to_dict()
        print(known, one, waiting, kept)
        print(await again.result(timeout=5))


async def language_models(ez: AsyncEzlink) -> None:
    """Check answers and streams of the official package; types go through."""
    client: AsyncOpenAI = ez.openai()
    answer: ChatCompletion = checked(
        await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Hello"}]
        )
    )
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    async for chunk in checked_stream(stream):
        text: str | None = chunk.choices[0].delta.content
        print(text, answer.choices[0].message.content)


async def careful(ez: AsyncEzlink) -> None:
    """Decide by the kind of an error, and by its two flags."""
    try:
        await (await ez.swap_face("me.jpg", "team.jpg"))
    except ImageError as error:
        print(error.path, error.reason, error.limit)
    except BusyError as error:
        seconds: float | None = error.retry_after
        print(seconds, error.retry_safe)
    except ApiError as error:
        print(error.status, error.code, error.description, error.request_id)
    except SubmitUnknownError as error:
        print(error.request_id, error.target, error.charged)
    except (TaskFailedError, TaskTimeoutError) as error:
        print(error.task_id, error.record)
    except EzlinkError as error:
        print(error)


async def stability(ez: AsyncEzlink) -> None:
    """Call Stability: pictures come at once, a video and a creative upscale later."""
    fox: StabilityImage = await ez.stability.generate("core", "a fox", seed=7)
    clean: StabilityImage = await ez.stability.edit("erase", fox.content, mask="m.png")
    drawn: StabilityImage = await ez.stability.control("sketch", "a.png", "a fox")
    kept: StabilityImage = await ez.stability.upscale(
        "a.png", "a fox", how="conservative"
    )
    larger: TaskHandle[StabilityRecord] = await ez.stability.upscale("a.png", "a fox")
    video: TaskHandle[StabilityRecord] = await ez.stability.image_to_video("a.png")
    record: StabilityRecord = await video
    seed: int | None = record.seed or clean.seed
    path: Path = await drawn.save("a.png")
    print(seed, path, kept.media_type, larger.task_id)
