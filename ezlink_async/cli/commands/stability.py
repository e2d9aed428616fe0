"""``ezlink stability``: one call of Stability, on servers that still have them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from ezlink_async import AsyncEzlink
from ezlink_async._core.images import Image
from ezlink_async._io.concurrency import run_in_any_thread
from ezlink_async._io.image_reader import inspect
from ezlink_async.batch.pairs.output_paths import (
    escape,
    free_names,
    move_to_free_name,
    stem_of,
    why_not_writable,
)
from ezlink_async.cli.connect import Connection, check_connection, connect, would_be
from ezlink_async.cli.display import Display, logs_shown_on
from ezlink_async.cli.interrupts import INTERRUPTED, Interrupts
from ezlink_async.cli.job_options import SWITCH
from ezlink_async.errors import ConfigurationError, EzlinkError
from ezlink_async.report.escaping import shown
from ezlink_async.services.stability import (
    ENDPOINTS,
    StabilityRequest,
    endpoint_of,
)

_UPSCALE, _HOW = "upscale", "how"
_UPSCALES = ("creative", "conservative")

_CALLS = (_UPSCALE, *(name for name in ENDPOINTS if name not in _UPSCALES))

_NAME = 60  # characters of a prompt in the name of a file

_NAME_BYTES = 200  # of a name; a file that is being written has a longer one

_FILTERED = "CONTENT_FILTERED"


def stability(
    what: Annotated[str, Parameter(name="WHAT")],
    picture: Annotated[Path | None, Parameter(name="PICTURE")] = None,
    /,
    *,
    output: Annotated[Path, Parameter(("--output", "-o"))],
    prompt: str | None = None,
    fields: Annotated[
        tuple[str, ...], Parameter("--set", negative=(), show_default=False)
    ] = (),
    local: Annotated[bool, SWITCH] = False,
    base_url: str | None = None,
    deadline: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    dry_run: Annotated[
        bool, Parameter(("--dry-run", "-n"), negative=(), show_default=False)
    ] = False,
) -> int:
    """
    Do one call of Stability, and save its picture or video.

    The public server has removed these calls; others may have them. Each run pays
    anew, also where the same was done before. Exit code 0: done; 1: it is not; 2:
    nothing could be done; 130: interrupted.

    Parameters
    ----------
    what
        image-to-video, upscale, erase, inpaint, outpaint, search-and-replace,
        remove-background, ultra, core, sd3, sketch, structure or style.
    picture
        The picture to change or to follow; ultra and core take none.
    output
        Folder for the result; made when it is missing.
    prompt
        What to draw.
    fields
        KEY=JSON: a field of the call, such as seed=7, mask=mask.png,
        output_format=webp or, of upscale, how=conservative; may be repeated. What is
        no JSON is a text.
    local
        Use the built-in server: no key, no network, no cost; a sketch is drawn.
    base_url
        Address of the API. [env: EZLINK_BASE_URL]
    deadline
        Seconds a task may take, once accepted. [default: 1800]
    dry_run
        Check everything, say what would be sent, and send nothing.

    """
    request = _request(what, _given(picture, prompt, fields))
    if blocked := why_not_writable(output):
        raise ConfigurationError(f"results cannot go to {output}: {blocked}")
    place = output / _name(what, picture, prompt)
    for image in request.pictures():
        inspect(image)
    connection = Connection(base_url=base_url, local=local, deadline=deadline)
    if dry_run:
        with Display() as display:
            name = next(free_names(place))
            display.result(shown(f"send {request.label} -> {output / name}"))
            price = "" if local else ", at the price of the server"
            display.note(f"1 call {would_be(local=local)}{price}")
        return 0
    check_connection(connection, ", or try --local, which needs none")
    return asyncio.run(_Run(request, place, connection).run())


def _given(
    picture: Path | None, prompt: str | None, fields: Sequence[str]
) -> Mapping[str, object]:
    given: dict[str, object] = {}
    if picture is not None:
        given["image"] = Image(path=picture)
    if prompt is not None:
        given["prompt"] = prompt
    for text in fields:
        name, equals, value = text.partition("=")
        if not equals or name in given:
            why = "is given twice" if equals else "is KEY=JSON"
            raise ConfigurationError(f"--set {why}: {text!r:.60}")
        given[name] = _read(value)
    return given


def _read(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def _request(what: str, given: Mapping[str, object]) -> StabilityRequest:
    """Return the checked call; ``upscale`` is two of them."""
    if what == _UPSCALE:
        fields = dict(given)
        how = fields.pop(_HOW, _UPSCALES[0])
        return StabilityRequest.of(endpoint_of(how, _UPSCALES), fields)
    return StabilityRequest.of(endpoint_of(what, _CALLS), given)


def _name(what: str, picture: Path | None, prompt: str | None) -> str:
    if picture is not None:
        return escape(f"{_cut(stem_of(picture))}+{what}")
    return escape(_cut((prompt or what)[:_NAME]))


def _cut(name: str) -> str:
    """Return the begin of *name* that a file can have; a longer one is never saved."""
    return name.encode(errors="replace")[:_NAME_BYTES].decode(errors="ignore")


@attrs.define
class _Run:
    """
    One call on its way, from its submit to the file.

    The result gets the name of *place*, or that with a number, once it is there:
    another run may take the name meanwhile.
    """

    request: StabilityRequest
    place: Path
    connection: Connection
    display: Display = attrs.field(init=False)
    interrupts: Interrupts = attrs.field(init=False)
    task: str = ""

    async def run(self) -> int:
        """Submit the call, save what it brings, and return the exit code."""
        is_saved = False
        with (
            Display() as self.display,
            Interrupts(self._stop) as self.interrupts,
            logs_shown_on(self.display),
            # Only a signal cancels this task.
            contextlib.suppress(asyncio.CancelledError),
        ):
            try:
                async with connect(self.connection) as ez:
                    is_saved = await self._save(ez)
            except EzlinkError as error:
                self._note_failure(error)
        return INTERRUPTED if self.interrupts.count else int(not is_saved)

    def _stop(self) -> None:
        if self.task:
            self.display.note(shown(self._resume()))
            self.interrupts.leave()
            return
        self.display.note(
            "Stopping. Waiting for the answer, since the call may be paid; press "
            "Ctrl-C again to quit now."
        )

    async def _save(self, ez: AsyncEzlink) -> bool:
        handle = await ez.submit(self.request)
        if self.request.endpoint.result is not None:
            self.task = f"{handle.family}:{handle.task_id}"
            self.display.note(f"accepted as task {self.task}")
            if self.interrupts.count:
                self._stop()
        record = await handle
        draft = self.place.with_name(f"{self.place.name}.{secrets.token_hex(4)}")
        for saved in await handle.save_all(draft):
            move = partial(move_to_free_name, saved, self.place)
            self.display.result(shown(await run_in_any_thread(move)))
        if record.finish_reason == _FILTERED:
            says = "the provider has blurred it, by its content moderation"
            self.display.note(f"{says} ({_FILTERED})", "yellow")
        return True

    def _resume(self) -> str:
        if self.connection.local:
            return "the built-in server ends with this command, and the task with it"
        command = f"ezlink task {self.task} --output {self.place.parent}"
        return f"the task runs on; resume with: {command}"

    def _note_failure(self, error: EzlinkError) -> None:
        says = f"failed: {self.request.label}: {type(error).__name__}: {error}"
        self.display.note(shown(says), "red")
        if self.task and error.maybe_charged:
            self.display.note(shown(self._resume()))
        elif error.maybe_charged:
            self.display.note("it may have been paid; another run pays again", "yellow")
