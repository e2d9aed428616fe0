"""
Async images: ``/v1/async/images/generations`` and ``.../result``, and their pictures.

After ye4293/one-api ``relay/controller/image.go``. The price is taken when the provider
has accepted, at any balance, and given back for Wan alone. A query is for
every key, and goes to the provider each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from attrs import define, frozen

from ezlink_async.emulator import faults
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply, api_error, image_error
from ezlink_async.emulator.relay import picture_answers as answers
from ezlink_async.emulator.relay.flux import PRICES, price_of
from ezlink_async.emulator.relay.midjourney.answers import no_channel
from ezlink_async.emulator.relay.picture_answers import RefusedPictureError, Shown
from ezlink_async.emulator.relay.pictures import UNITS_PER_CENT, PictureRow
from ezlink_async.emulator.relay.routes import Route, with_key
from ezlink_async.emulator.relay.state import ForwardedCall, RelayState
from ezlink_async.emulator.relay.store import Charge, Key, Refusal
from ezlink_async.emulator.upstream import paintings
from ezlink_async.emulator.upstream.paintings import Painting
from ezlink_async.emulator.upstream.tasks import UpstreamTask

_KLING_PRICE, _WAN_PRICE = 50_000, 100_000
_UNITS_PER_DOLLAR = 500_000
_UNSUPPORTED = ("dall-e", "gpt-image")  # served, but not here
_PANIC = Reply(500, b"", None)
_GONE = 403
_MISSING = 404
_EXPIRED = "<Error><Code>AuthenticationFailed</Code></Error>"


@frozen
class _Provider:
    """
    Who makes the pictures, and how the relay reads what they answer.

    *count* is how many it charges for when a request does not say it.
    """

    name: str
    path: str
    count: int
    accepts: Callable[[faults.Upstream], tuple[str, str]]
    shows: Callable[[faults.Upstream], Shown]
    answers: Callable[[UpstreamTask, Painting, str], dict[str, object]]
    logs_refusals: bool = True

    def price(self, model: str) -> int:
        """Return the price of one picture, in units."""
        if self.name == "flux":
            return int(price_of(model) * UNITS_PER_CENT)
        return _KLING_PRICE if self.name == "kling" else _WAN_PRICE

    def accepted(self, task: UpstreamTask, painting: Painting) -> dict[str, object]:
        """Return the provider's own acceptance of a job."""
        if self.name == "flux":
            return paintings.bfl_accepted(task, painting)
        if self.name == "kling":
            return paintings.kling_accepted(task)
        return paintings.wan_accepted(task)


_FLUX = _Provider(
    "flux", "/v1/{}", 1, answers.flux_accepted, answers.flux_shown, paintings.bfl_result
)
_KLING = _Provider(
    "kling",
    "/v1/images/generations",
    1,
    answers.kling_accepted,
    answers.kling_shown,
    paintings.kling_result,
)
_WAN = _Provider(
    "ali",
    "/api/v1/services/aigc/image2image/image-synthesis",
    4,
    answers.wan_accepted,
    answers.wan_shown,
    paintings.wan_result,
    logs_refusals=False,
)
_BY_PREFIX = {"flux": _FLUX, "kling": _KLING, "wan2": _WAN, "wanx": _WAN}
_BY_NAME = {each.name: each for each in _BY_PREFIX.values()}


def _provider_of(model: str) -> _Provider | None:
    """Return who serves *model*, or None."""
    if model.startswith("flux") and model not in PRICES:
        return None
    found = (each for prefix, each in _BY_PREFIX.items() if model.startswith(prefix))
    return next(found, None)


@define
class _Submit:
    """One submit on its way through the relay."""

    state: RelayState
    exchange: Exchange
    key: Key
    provider: _Provider
    model: str
    fields: Mapping[str, object]

    @property
    def count(self) -> int:
        """How many pictures are charged for: ``n`` is not checked."""
        parameters = self.fields.get("parameters")
        inner = parameters.get("n") if isinstance(parameters, Mapping) else None
        for value in (self.fields.get("n"), inner):
            if type(value) is int and value > 0:
                return value
        return self.provider.count

    @property
    def units(self) -> int:
        """What the job costs."""
        return self.provider.price(self.model) * self.count


async def submit(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    """Forward a job to its provider, charge it, add a row."""
    state.store.attempts[exchange.request_id] += 1
    body = await exchange.read()
    state.store.uploads[exchange.request_id] += 1
    if "panic" in exchange.overrides.trouble:
        return _PANIC
    try:
        fields = answers.read_object(body)
    except ValueError:
        return api_error(400, "Model name is required", exchange.request_id)
    model = str(fields.get("model") or "")
    provider = _provider_of(model)
    if provider is None and model.startswith(_UNSUPPORTED):
        words = f"unsupported model: {model}"
        return answers.refusal(400, "unsupported_model", words)
    if provider is None or "no_channel" in exchange.overrides.trouble:
        return no_channel(exchange, key, model)
    return _forwarded(_Submit(state, exchange, key, provider, model, fields))


def _forwarded(one: _Submit) -> Reply:
    _record(one)
    try:
        answer = one.exchange.overrides.upstream or _own_answer(one)
        call = f'Post "<host>{one.provider.path.format(one.model)}"'
        answers.check_call(answer, call, "do_request_failed")
        task_id, message = one.provider.accepts(answer)
    except RefusedPictureError as refused:
        if one.provider.logs_refusals:
            _log_refusal(one, str(refused))
        return refused.reply
    one.state.pictures.add(_row(one, task_id))
    _charge(one, task_id)
    return answers.submitted("succeed", task_id, message)


def _own_answer(one: _Submit) -> faults.Upstream:
    is_flux, upstream = one.provider is _FLUX, one.state.upstream
    painting = paintings.read_painting(
        one.model, one.fields, 1 if is_flux else one.count, expires=is_flux
    )
    action, life = one.provider.name.upper(), one.exchange.overrides.life
    task = upstream.generate(action, painting, one.exchange.request_id, life)
    return faults.Upstream(body=one.provider.accepted(task, painting))


def _record(one: _Submit) -> None:
    sent = dict(one.fields)
    if one.provider is not _WAN:
        del sent["model"]
    if one.provider is _KLING:
        sent["model_name"] = one.model
    path = one.provider.path.format(one.model)
    one.state.forwarded.append(ForwardedCall("POST", path, sent))


def _row(one: _Submit, task_id: str) -> PictureRow:
    return PictureRow(
        number=one.state.store.next_number(),
        account=one.key.account,
        key=one.key.text,
        provider=one.provider.name,
        model=one.model,
        request_id=one.exchange.request_id,
        created_at=one.state.seconds,
        native=False,
        task_id=task_id,
        status="submitted",
        mode="texttoimage",
        n=one.count,
        quota=one.units,
    )


def _charge(one: _Submit, task_id: str) -> None:
    dollars = one.units / _UNITS_PER_DOLLAR
    charge = Charge(
        request_id=one.exchange.request_id,
        task_id=task_id,
        units=one.units,
        account=one.key.account.number,
        key=one.key.text,
        seconds=one.state.seconds,
        model=one.model,
        action="IMAGES",
        text=f"Mode: texttoimage, Images: {one.count}, Total cost: ${dollars:.3f}",
    )
    one.state.store.charge(one.key, charge)


def _log_refusal(one: _Submit, text: str) -> None:
    refusal = Refusal(
        request_id=one.exchange.request_id,
        text=text,
        account=one.key.account.number,
        key=one.key.text,
        seconds=one.state.seconds,
        model=one.model,
    )
    one.state.store.log.append(refusal)


async def result(state: RelayState, exchange: Exchange, _key: Key) -> Reply:
    """Ask the provider of a task of any account; without an id the oldest row's."""
    row = state.pictures.find(exchange.request.query.get("taskid", ""))
    if row is None:
        return answers.refusal(500, "failed to get image", "record not found")
    if "channel_deleted" in exchange.overrides.trouble:
        return answers.refusal(500, "failed to get channel", "record not found")
    provider = _BY_NAME[row.provider]
    answer = exchange.overrides.upstream or _own_result(state, row, provider)
    try:
        answers.check_call(answer, 'Get "<host>"', "api_error")
        shown = provider.shows(answer)
    except RefusedPictureError as refused:
        return refused.reply
    if shown.refund and row.is_open:
        row.fail(shown.message, state.seconds)
        state.store.refund(row, state.seconds)
    return shown.reply(row.task_id)


def _own_result(
    state: RelayState, row: PictureRow, provider: _Provider
) -> faults.Upstream:
    view = state.upstream.poll(row.task_id)
    if view is None:
        missing = {"id": row.task_id, "status": "Task not found", "result": None}
        return faults.Upstream(_MISSING, missing)
    task = state.upstream.tasks[row.task_id]
    painting = state.upstream.paintings[row.task_id]
    return faults.Upstream(body=provider.answers(task, painting, state.base_url))


async def picture(state: RelayState, exchange: Exchange) -> Reply:
    """Serve a picture at the address that its provider gave, until the link ends."""
    task_id, _, name = exchange.task_id.partition("/")
    painting = state.upstream.paintings.get(task_id)
    number = int(name.removesuffix(".png"))
    if painting is None or not 1 <= number <= painting.count:
        return image_error(_MISSING, "there is no such picture")
    until = exchange.request.query.get("se", "")
    if painting.expires and state.seconds > int(until if until.isdecimal() else 0):
        return Reply(_GONE, _EXPIRED.encode(), "application/xml", bare=True)
    content = await asyncio.to_thread(painting.draw, number)
    return Reply(200, content, "image/png", bare=True)


ROUTES = (
    Route("POST", "/v1/async/images/generations", "images", with_key(submit)),
    Route("GET", "/v1/async/images/result", "images_result", with_key(result)),
    Route("GET", r"/__emu/pictures/([^/]+/[0-9]{1,4}\.png)", "picture", picture),
)
