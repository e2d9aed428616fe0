"""``AsyncEzlink``, the client: each call is done by the module that owns it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypedDict, TypeVar, Unpack, overload

from ezlink_async._client.handle import TaskHandle
from ezlink_async._client.job_stream import (
    AnyOutcome,
    AnyRequest,
    JobStream,
    Requests,
)
from ezlink_async._client.outcomes import TargetT_co
from ezlink_async._client.session import Session, fetch_many, fetch_one
from ezlink_async._client.swap_stream import Swaps, SwapStream, Targets
from ezlink_async._core.images import (
    MAX_BYTES,
    Image,
    ImageLike,
    Upload,
    is_upload,
)
from ezlink_async._core.log_lines import get_logger
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import PollPolicy, RetryPolicy, Timeouts
from ezlink_async._core.settings import (
    Options,
    SettingsSources,
    hide_secrets,
    profile_sources,
    resolve,
)
from ezlink_async._io.addresses import ResultAddress
from ezlink_async._io.files import as_path
from ezlink_async._io.image_reader import measure_file
from ezlink_async.errors import ClientClosedError, ConfigurationError, ImageError
from ezlink_async.models import (
    FluxRecord,
    ImagesRecord,
    ModelInfo,
    StabilityRecord,
    Stats,
    TaskRecord,
    VideoRecord,
)
from ezlink_async.services.account import Account
from ezlink_async.services.base import AnyRecord, JobRequest, R
from ezlink_async.services.catalogue import (
    models_request,
    models_with,
    read_models,
    search_word,
)
from ezlink_async.services.face_swap import FaceSwap, SwapOptions
from ezlink_async.services.files import Files
from ezlink_async.services.flux import FluxCalls
from ezlink_async.services.image_generation import Images
from ezlink_async.services.midjourney import (
    MIDJOURNEY,
    AccountFilter,
    Midjourney,
    Mode,
)
from ezlink_async.services.registry import family_of
from ezlink_async.services.stability import Stability
from ezlink_async.services.video import Videos

if TYPE_CHECKING:
    import aiohttp
    from openai import AsyncOpenAI

_log = get_logger()

_T = TypeVar("_T")


class SwapKeywords(TypedDict, total=False):
    """The keyword arguments of :meth:`AsyncEzlink.swap_face` and ``swap_faces``."""

    state: str | None
    notify_hook: str | None
    account_filter: AccountFilter | None
    mode: Mode | str | None


class AsyncEzlink:
    """
    A client of the EZLINK AI API; use it with ``async with``.

    *max_concurrency* jobs are in progress at one time, each from before its
    target is read until its task is terminal; *max_uploads* of them send their
    pictures at the same time. A setting that is not given comes from the
    environment (``EZLINK_API_KEY``, ``EZLINK_BASE_URL``,
    ``EZLINK_POLL_DEADLINE`` and so on); entering checks all of them and raises
    :exc:`ConfigurationError`. With *account_token*, the access token of the
    account, the client finds out what became of a submit whose answer was lost.
    *http* is a session of yours for the API; the client never closes it. One
    client serves a whole program, in one event loop.

    Leaving ``async with`` aborts uploads, gives submits that wait for their
    answer ``timeouts.close`` seconds, and raises :exc:`ClientClosedError` in
    every awaiter; tasks run on at the server.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        max_concurrency: int | None = None,
        max_uploads: int | None = None,
        retry: RetryPolicy | None = None,
        poll: PollPolicy | None = None,
        timeouts: Timeouts | None = None,
        http: aiohttp.ClientSession | None = None,
        slot_timeout: float | None = None,
        account_token: str | None = None,
        allow_insecure: bool = False,
    ) -> None:
        options = Options(
            api_key=api_key,
            base_url=base_url,
            max_concurrency=max_concurrency,
            max_uploads=max_uploads,
            retry=retry,
            poll=poll,
            timeouts=timeouts,
            slot_timeout=slot_timeout,
            account_token=account_token,
            allow_insecure=allow_insecure,
        )
        self._options = hide_secrets(options)
        self._http = http
        self._profile: Path | None = None
        self._reads_profile = False
        self._session: Session | None = None

    def __del__(self) -> None:
        session = getattr(self, "_session", None)  # __init__ may have failed
        if session is not None and not session.closed:
            _log.warning(
                "a client was dropped without being closed: use it with `async with`, "
                "or await its aclose(). It followed %d tasks, which run on at %s",
                len(session.poller.pending()),
                session.origin,
            )

    @classmethod
    def from_profile(
        cls, path: str | Path | None = None, **options: Unpack[Options]
    ) -> Self:
        """
        Make a client that also reads the profile file, with the lowest precedence.

        Without *path* the file is the one ``EZLINK_CONFIG`` names, else
        ``~/.config/ezlink/config.toml``. It is read on entering, which raises
        :exc:`ConfigurationError` if a file that was named is missing; a value that is
        no path is one at once.
        """
        options = hide_secrets(options)  # an unknown one passes this frame
        client = cls(**options)
        client._reads_profile = True
        if path is not None:
            client._profile = as_path(path, "the profile is named by a path")
        return client

    def __repr__(self) -> str:
        if self._session is None:
            return "<AsyncEzlink, not entered>"
        state = "closed" if self._session.closed else "open"
        return f"<AsyncEzlink {self._session.base_url} {state}>"

    async def __aenter__(self) -> Self:
        if self._session is not None:
            raise ConfigurationError("a client is entered once; make another one")
        sources = SettingsSources(os.environ)
        if self._reads_profile:
            sources = profile_sources(os.environ, self._profile)
        session = Session(resolve(self._options, sources), self._http)
        await session.open()
        self._session = session
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client, as leaving ``async with`` does; twice is harmless."""
        session = self._session
        if session is None:
            return
        if session.loop is not asyncio.get_running_loop():
            raise ConfigurationError("close the client in the event loop it is used in")
        await session.close()

    async def submit(self, request: JobRequest[R]) -> TaskHandle[R]:
        """
        Submit one job of any kind; return once the server has accepted it.

        *request* is a value such as ``FaceSwap("me.jpg", "party.jpg")``, which has
        checked itself. Uploads among its pictures are read first, once and up to
        10 MiB each; then it waits for a slot. With an account token the client
        gives each job without a ``state`` one of its own, the same for all its
        attempts, where its kind has one.

        A cancellation before the whole body has left creates no job. After that
        the submit continues, and its handle appears in :meth:`pending`.

        Raises :exc:`ImageError` and :exc:`ConfigurationError` before anything
        is sent, :exc:`SlotTimeoutError` after ``slot_timeout``, :exc:`ApiError`
        when the server refuses, and :exc:`SubmitUnknownError` when the job may
        exist and may be paid.
        """
        if not isinstance(request, JobRequest):
            raise ConfigurationError(f"this is no job request: {request!r:.200}")
        return await self._inside().submit(request)

    def submit_all(
        self, requests: Iterable[AnyRequest] | AsyncIterable[AnyRequest]
    ) -> JobStream[AnyOutcome]:
        """
        Submit many jobs, and iterate over each :class:`Outcome` in order of their ends.

        *requests* is any iterable or async iterable, of any kinds, consumed as slots
        become free. A bad one is an outcome with an error. An error that every other
        job would meet too (a refused key, no quota, a wrong address) stops the intake
        and is raised after the last outcome. Use the stream as a context manager to
        leave it early.
        """
        session = self._inside()
        return JobStream(session.stream(Requests(requests), session.shared_source()))

    async def swap_face(
        self,
        source: ImageLike,
        target: ImageLike,
        *,
        state: str | None = None,
        notify_hook: str | None = None,
        account_filter: AccountFilter | None = None,
        mode: Mode | str | None = None,
    ) -> TaskHandle[TaskRecord]:
        """
        Put the face of *source* into *target*; return once the job is accepted.

        Each is a path, bytes, an :class:`Image`, or an upload of a web framework: an
        object with ``await read(size)``, or an async iterable of bytes. An upload is
        read first, once and up to 10 MiB; what does not fit into 1 MiB of memory waits
        in a temporary file until the submit has ended. Then the job waits for a slot.
        *state* comes back in the records; with an
        account token the client gives each job without one a state of its own,
        the same for all its attempts. The server's upstream calls *notify_hook*,
        unsigned.

        A cancellation before the whole body has left creates no job. After that
        the submit continues, and its handle appears in :meth:`pending`.

        Raises :exc:`ImageError` and :exc:`ConfigurationError` before anything
        is sent, :exc:`SlotTimeoutError` after ``slot_timeout``, :exc:`ApiError`
        when the server refuses, and :exc:`SubmitUnknownError` when the job may
        exist and may be paid.
        """
        request = FaceSwap(
            source,
            target,
            state=state,
            notify_hook=notify_hook,
            account_filter=account_filter,
            mode=Mode.parse(mode),
        )
        return await self.submit(request)

    @overload
    def swap_faces(
        self,
        source: ImageLike,
        targets: Iterable[TargetT_co] | AsyncIterable[TargetT_co],
        **options: Unpack[SwapKeywords],
    ) -> SwapStream[TargetT_co]: ...

    @overload
    def swap_faces(
        self,
        source: None,
        targets: Iterable[tuple[ImageLike, TargetT_co]]
        | AsyncIterable[tuple[ImageLike, TargetT_co]],
        **options: Unpack[SwapKeywords],
    ) -> SwapStream[TargetT_co]: ...

    @overload
    def swap_faces(
        self,
        source: ImageLike | None,
        targets: Targets,
        **options: Unpack[SwapKeywords],
    ) -> SwapStream: ...

    def swap_faces(
        self,
        source: ImageLike | None,
        targets: Targets,
        *,
        state: str | None = None,
        notify_hook: str | None = None,
        account_filter: AccountFilter | None = None,
        mode: Mode | str | None = None,
    ) -> SwapStream:
        """
        Swap many, and iterate over each :class:`SwapOutcome` in order of their ends.

        *targets* is any iterable or async iterable, consumed as slots become
        free; without a *source* it yields ``(source, target)`` pairs. A *state*
        is shared by all jobs, so a lost one cannot be found by it. One bad photo
        is an outcome with an error. An error that every other job would meet too
        (a refused key, no quota, a wrong address) stops the intake and is raised
        after the last outcome. Use the stream as a context manager to leave it
        early.
        """
        session = self._inside()
        options = SwapOptions(
            state=state,
            notify_hook=notify_hook,
            account_filter=account_filter,
            mode=Mode.parse(mode),
        )
        shared = session.shared_source()

        encode = partial(session.pictures.encode_shared, shared=shared)
        return SwapStream(
            session.stream(Swaps(source, targets, options, encode), shared)
        )

    @overload
    def task(self, task_id: str) -> TaskHandle[TaskRecord]: ...

    @overload
    def task(self, task_id: str, *, family: str) -> TaskHandle[AnyRecord]: ...

    def task(
        self, task_id: str, *, family: str = MIDJOURNEY.name
    ) -> TaskHandle[AnyRecord]:
        """
        Resume a task by its id, in any process; it takes no slot.

        An id is that of one *family*: those of swaps and of all other tasks behind
        ``/mj`` are "midjourney". One of "video" may be any provider's: a finished task
        of Doubao is then settled once more, which charges or credits the caller.
        "video-doubao" follows a task of Doubao without the key, and settles it once.

        The deadline counts from now. A handle whose id the server calls unknown
        five times in a row, within some 3 seconds, ends with
        :exc:`TaskNotFoundError`. With a key that is used up from the first poll on it
        waits for the key's quota: only a record shows that the picture at the task's
        address is its result, and no preview.
        """
        return self._inside().follow(str(task_id), family_of(family))

    def restore(self, saved: Mapping[str, object]) -> TaskHandle[AnyRecord]:
        """
        Resume a handle that :meth:`TaskHandle.to_dict` saved, in any process.

        A finished one makes no request. Raises :exc:`ConfigurationError` when it
        was saved by a client of another server. A fault of the server's database
        makes every id unknown, so the handle ends with :exc:`TaskNotFoundError`
        only when its id is still unknown after a minute.
        """
        return self._inside().restore(saved)

    def stats(self) -> Stats:
        """
        Return the numbers that a health page shows.

        It sends nothing and waits for nothing, so it may be asked every second.
        """
        return self._inside().stats()

    def pending(self) -> tuple[TaskHandle[AnyRecord], ...]:
        """Return the handle of every task this client follows now."""
        return self._inside().poller.pending()

    @property
    def midjourney(self) -> Midjourney[TaskHandle[TaskRecord]]:
        """Midjourney's jobs: imagine, blend, describe, and what follows them."""
        return Midjourney(self.submit, self._ask)

    @property
    def stability(self) -> Stability[TaskHandle[StabilityRecord]]:
        """Stability's calls, on servers that have not removed them."""
        return Stability(self.submit)

    @property
    def video(self) -> Videos[TaskHandle[VideoRecord]]:
        """Videos: of Veo, Kling, Doubao, MiniMax, Runway, Wan, Grok, and others."""
        return Videos(self.submit)

    @property
    def images(self) -> Images[TaskHandle[ImagesRecord]]:
        """Pictures by Flux, Kling and Wan, paid at acceptance."""
        return Images(self.submit)

    @property
    def flux(self) -> FluxCalls[TaskHandle[FluxRecord]]:
        """Native Flux: pictures that are paid once they are there."""
        return FluxCalls(self.submit)

    async def _ask(
        self, request: HttpRequest, reader: Callable[[HttpResponse], _T]
    ) -> _T:
        return await self._inside().ask(request, reader)

    @property
    def files(self) -> Files:
        """The files that the server stores: an upload brings an address."""
        return Files(self._upload, measure_file)

    async def _upload(
        self, request: HttpRequest, reader: Callable[[HttpResponse], _T]
    ) -> _T:
        return await self._inside().upload(request, reader)

    async def models(self, contains: str | None = None) -> tuple[ModelInfo, ...]:
        """
        Return the server's catalogue of models, each id once; free.

        With *contains* only those whose id has this word in it, in any case. The
        catalogue is built into the server and the same for every key: it says nothing
        about what this key may use, and lacks models that the operator has added.
        Source: ``ye4293/one-api`` (``controller/model.go`` ListModels).
        """
        word = search_word(contains)
        return models_with(await self._ask(models_request(), read_models), word)

    @property
    def account(self) -> Account:
        """The account behind the key; all calls but one need ``account_token``."""
        return Account(self._ask_account, self._ask)

    async def _ask_account(
        self, request: HttpRequest, reader: Callable[[HttpResponse], _T]
    ) -> _T:
        return await self._inside().ask_account(request, reader)

    def openai(self) -> AsyncOpenAI:
        """
        Return the official package's client for language models, audio and the like.

        It is one ``openai.AsyncOpenAI`` for each client, closed with it, and needs the
        extra ``openai``. The first call loads the package, during which the event loop
        stands still for about a second, unless your program has imported ``openai``.
        It asks this client's server only, with this client's key, and ignores the
        variables ``OPENAI_*``; follows no redirect; and repeats nothing
        (``max_retries=0``), because the server charges each attempt. A call waits for
        each part of its answer for up to 360 s: the server goes on after a shorter
        wait, and after a cancellation, and charges the answer in full.

        It raises the package's own errors. The server also reports errors with status
        200, and ends broken streams like complete ones: pass answers through
        :func:`ezlink_async.llm.checked`, streams through
        :func:`ezlink_async.llm.checked_stream`. Raises :exc:`ConfigurationError` if the
        package is not installed.
        """
        return self._inside().openai.client()

    async def fetch_task(self, task_id: str) -> TaskRecord:
        """Fetch one task once; raises :exc:`TaskNotFoundError` for an unknown id."""
        session = self._inside()
        return await session.background.run(fetch_one(session.transport, str(task_id)))

    async def fetch_tasks(self, task_ids: Iterable[str]) -> dict[str, TaskRecord]:
        """
        Fetch many tasks, by id; unknown ids are left out.

        It makes one request for each 100 ids, or one for each id on a server
        without the list call.
        """
        session = self._inside()
        return await session.background.run(fetch_many(session.transport, task_ids))

    async def fetch_image(self, url: str) -> Image:
        """
        Download a picture to swap with, of at most 10 MiB.

        Only public addresses and the API's own are requested: the address that a
        foreign host resolves to is checked, and so is each redirect. The key is
        not sent. Raises :exc:`DownloadError`.
        """
        session = self._inside()
        if not isinstance(url, str):
            raise ConfigurationError(f"url is a str, not {type(url).__name__}")
        address = ResultAddress(url, strict=True, limit=MAX_BYTES)
        content = await session.background.run(session.downloads.read([address]))
        return Image.from_bytes(content)

    async def receive_image(self, upload: Upload, *, limit: int = MAX_BYTES) -> Image:
        """
        Read an upload of at most *limit* bytes to its end, as a picture to send.

        *upload* is read by ``await read_chunk(size)``, ``await read(size)`` or as an
        async iterable of bytes, whichever comes first. Up to 1 MiB stay in memory,
        more wait in a temporary file, which has gone with the last reference to the
        picture. Use it where a form has several pictures one behind the other, or
        with a higher *limit* for :func:`prepare_picture`; to send one picture,
        pass the upload itself.

        Raises :exc:`ImageError` for an upload that is empty, has more bytes, breaks
        off, or brings none for ``timeouts.upload`` seconds. The rest of it is not
        read then, nor after a cancellation.
        """
        if not is_upload(upload):
            raise ImageError(
                "an upload is read asynchronously, by read(size) or as an iterable: "
                f"{type(upload).__name__} is not"
            )
        return await self._inside().pictures.receive(upload, limit)

    def _inside(self) -> Session:
        if self._session is None:
            raise ConfigurationError(
                "the client is not entered: use `async with AsyncEzlink(...) as ez:`"
            )
        if self._session.closed:
            raise ClientClosedError
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not self._session.loop:
            raise ConfigurationError(
                "the client was entered in another event loop: make one for each"
            )
        return self._session


def session_of(client: AsyncEzlink) -> Session:
    """
    Return the session of an entered client; not for users.

    Raises as every call of the client does when it is not entered or closed.
    """
    return client._inside()  # noqa: SLF001 - the rooms above come in by this door
