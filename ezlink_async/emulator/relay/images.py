"""
Async images: ``/v1/async/images/generations`` and ``.../result``, and their pictures.

After ye4293/one-api ``relay/controller/image.go``. The price is taken when the provider
has accepted, whatever the balance is, and given back for Wan alone. A query is for
every key, and goes to the provider each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from attrs import frozen

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
            return price_of(model) * UNITS_PER_CENT
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
_BY_PREFIX = {"flux": _FLUX, "kling": _KLING, "wan": _WAN}
_BY_NAME = {each.name: each for each in _BY_PREFIX.values()}


def _provider_of(model: str) -> _Provider | None:
    """Return who serves *model*, None where nobody does."""
    if model.startswith("flux") and model not in PRICES:
        return None
    found = (each for prefix, each in _BY_PREFIX.items() if model.startswith(prefix))
    return next(found, None)


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
    return _forwarded(state, exchange, key, provider, fields)


def _forwarded(
    state: RelayState,
    exchange: Exchange,
    key: Key,
    provider: _Provider,
    fields: Mapping[str, object],
) -> Reply:
    model = str(fields["model"])
    count = _count_of(fields, provider.count)
    _record(state, provider, fields)
    try:
        answer = exchange.overrides.upstream or _own_answer(
            state, exchange, provider, fields
        )
        if answer.broken:
            call = f'Post "<host>{provider.path.format(model)}"'
            words = answers.broken_call(answer.broken, call, "<host>", "")
            raise RefusedPictureError(500, "do_request_failed", words)
        task_id, message = provider.accepts(answer)
    except RefusedPictureError as refused:
        if provider.logs_refusals:
            _log_refusal(state, exchange, key, model, str(refused))
        return refused.reply
    units = provider.price(model) * count
    state.pictures.add(_row(state, exchange, key, provider, model, task_id, units, count))
    _charge(state, exchange, key, model, task_id, units, count)
    return answers.submitted("succeed", task_id, message)


def _own_answer(
    state: RelayState,
    exchange: Exchange,
    provider: _Provider,
    fields: Mapping[str, object],
) -> faults.Upstream:
    count = 1 if provider is _FLUX else _count_of(fields, provider.count)
    model = str(fields["model"])
    painting = paintings.read_painting(
        model, fields, count, expires=provider is _FLUX
    )
    action, life = provider.name.upper(), exchange.overrides.life
    task = state.upstream.generate(action, painting, exchange.request_id, life)
    return faults.Upstream(body=provider.accepted(task, painting))


def _count_of(fields: Mapping[str, object], default: int) -> int:
    """Return how many pictures are charged for: ``n`` is not checked."""
    parameters = fields.get("parameters")
    inner = parameters.get("n") if isinstance(parameters, Mapping) else None
    for value in (fields.get("n"), inner):
        if type(value) is int and value > 0:
            return value
    return default


def _record(
    state: RelayState, provider: _Provider, fields: Mapping[str, object]
) -> None:
    sent = dict(fields)
    model = str(fields["model"])
    if provider is not _WAN:
        del sent["model"]
    if provider is _KLING:
        sent["model_name"] = model
    path = provider.path.format(model)
    state.forwarded.append(ForwardedCall("POST", path, sent))


def _row(
    state: RelayState,
    exchange: Exchange,
    key: Key,
    provider: _Provider,
    model: str,
    task_id: str,
    units: int,
    count: int,
) -> PictureRow:
    return PictureRow(
        number=state.store.next_number(),
        account=key.account,
        key=key.text,
        provider=provider.name,
        model=model,
        request_id=exchange.request_id,
        created_at=state.seconds,
        native=False,
        task_id=task_id,
        status="submitted",
        mode="texttoimage",
        n=count,
        quota=units,
    )


def _charge(
    state: RelayState,
    exchange: Exchange,
    key: Key,
    model: str,
    task_id: str,
    units: int,
    count: int,
) -> None:
    dollars = units / _UNITS_PER_DOLLAR
    charge = Charge(
        request_id=exchange.request_id,
        task_id=task_id,
        units=units,
        account=key.account.number,
        key=key.text,
        seconds=state.seconds,
        model=model,
        action="IMAGES",
        text=f"Mode: texttoimage, Images: {count}, Total cost: ${dollars:.3f}",
    )
    state.store.charge(key, charge)


def _log_refusal(
    state: RelayState, exchange: Exchange, key: Key, model: str, text: str
) -> None:
    refusal = Refusal(
        request_id=exchange.request_id,
        text=text,
        account=key.account.number,
        key=key.text,
        seconds=state.seconds,
        model=model,
    )
    state.store.log.append(refusal)


async def result(state: RelayState, exchange: Exchange, _key: Key) -> Reply:
    """Ask the provider of a task, whoever's it is; without an id the oldest row's."""
    row = state.pictures.find(exchange.request.query.get("taskid", ""))
    if row is None:
        return answers.refusal(500, "failed to get image", "record not found")
    if "channel_deleted" in exchange.overrides.trouble:
        return answers.refusal(500, "failed to get channel", "record not found")
    provider = _BY_NAME[row.provider]
    answer = exchange.overrides.upstream or _own_result(state, row, provider)
    try:
        if answer.broken:
            call = 'Get "<host>"'
            words = answers.broken_call(answer.broken, call, "<host>", "")
            raise RefusedPictureError(500, "api_error", words)
        shown = provider.shows(answer)
    except RefusedPictureError as refused:
        return refused.reply
    if shown.refund and row.is_open:
        row.fail(shown.message, state.seconds)
        state.store.refund(row, state.seconds)
    return shown.reply(row.task_id, row.task_id)


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
