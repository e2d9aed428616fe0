"""
Native Flux: ``/flux/v1/{model}``, ``/flux/v1/get_result`` and the provider's own call.

After ye4293/one-api ``controller/flux.go``. Each submit leaves a row, a refused
one too. Nothing is charged at acceptance: the first success that the relay sees is
taken from the account of the row, never from its key.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define

from ezlink_async.emulator import faults
from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import (
    JSON,
    JSON_UTF8,
    Reply,
    as_json,
    image_error,
)
from ezlink_async.emulator.relay.midjourney.answers import no_channel
from ezlink_async.emulator.relay.picture_answers import (
    SATURATED,
    RefusedPictureError,
    broken_call,
    read_object,
)
from ezlink_async.emulator.relay.pictures import UNITS_PER_CENT, PictureRow
from ezlink_async.emulator.relay.routes import Route, with_key
from ezlink_async.emulator.relay.state import ForwardedCall, RelayState
from ezlink_async.emulator.relay.store import Charge, Key, Refusal
from ezlink_async.emulator.upstream import paintings
from ezlink_async.emulator.upstream.tasks import UpstreamTask

#: Cents for a picture of each model that the provider has.
PRICES: dict[str, float] = {
    "flux-2-pro": 3,
    "flux-2-flex": 6,
    "flux-2-max": 7,
    "flux-pro": 5,
    "flux-pro-1.1": 4,
    "flux-pro-1.1-ultra": 6,
    "flux-pro-1.0-fill": 5,
    "flux-kontext-pro": 4,
    "flux-kontext-max": 8,
    "flux-dev": 2.5,
}
FEE = 25_000
_FEE_WORDS = ("violates usage guidelines", "safety_check_type")
_BAR = 50_000
_UNITS_PER_DOLLAR = 500_000
_HOST = "https://upstream.example"
_ADDRESS = "upstream.example:443"
_CLIENT = "Client.Timeout"
_SHOWN = 500  # bytes of an answer in no known form
_LATE = 15 * 60
_TIMED_OUT = "任务超时"
_REFUSAL_KIND = 5
_OK, _FORBIDDEN, _BUSY, _ERROR = 200, 403, 429, 500
_ENDS = {"Error", "Request Moderated", "Content Moderated"}
_PANIC = Reply(500, b"", None)


def price_of(model: str) -> float:
    """Return the cents of a picture."""
    return PRICES.get(model, PRICES["flux-2-pro"])


@define
class _Submit:
    """One submit on its way through the relay."""

    state: RelayState
    exchange: Exchange
    key: Key
    model: str
    row: PictureRow


async def submit(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    """Write a row, forward the job, and note what the provider says."""
    state.store.attempts[exchange.request_id] += 1
    body = await exchange.read()
    state.store.uploads[exchange.request_id] += 1
    model, trouble = exchange.task_id, exchange.overrides.trouble
    if "panic" in trouble:
        return _PANIC
    if model not in PRICES or "no_channel" in trouble:
        return no_channel(exchange, key, model)
    row = PictureRow(
        number=state.store.next_number(),
        account=key.account,
        key=key.text,
        provider="flux",
        model=model,
        request_id=exchange.request_id,
        created_at=state.seconds,
        native=True,
    )
    state.pictures.add(row)
    one = _Submit(state, exchange, key, model, row)
    try:
        return _accepted(one, _forward(one, _fields_of(one, body)))
    except RefusedPictureError as refused:
        _log_refusal(one, str(refused))
        return refused.reply


def _fields_of(one: _Submit, body: bytes) -> Mapping[str, object]:
    try:
        fields = read_object(body)
    except ValueError as fault:
        raise _refused(
            one, 400, f"convert request failed: 解析请求体失败: {fault}"
        ) from None
    balance = one.key.account.balance
    if balance < _BAR:
        dollars = balance / _UNITS_PER_DOLLAR
        words = f"余额不足，当前余额 ${dollars:.4f}，请充值后重试（最低需 $0.10）"
        raise _refused(one, 402, words)
    return {name: value for name, value in fields.items() if name != "model"}


def _refused(
    one: _Submit, status: int, message: str, reason: str = ""
) -> RefusedPictureError:
    one.row.fail(reason or message, one.state.seconds)
    return RefusedPictureError(status, None, message)


def _forward(one: _Submit, fields: Mapping[str, object]) -> faults.Upstream:
    state, path = one.state, f"/v1/{one.model}"
    state.forwarded.append(ForwardedCall("POST", path, dict(fields)))
    answer = one.exchange.overrides.upstream
    if answer is None:
        return _own_answer(one, fields)
    if answer.broken:
        call = f'Post "{_HOST}{path}"'
        words = broken_call(answer.broken, call, _ADDRESS, _CLIENT)
        raise _refused(one, _ERROR, f"request failed: {words}")
    return answer


def _own_answer(one: _Submit, fields: Mapping[str, object]) -> faults.Upstream:
    painting = paintings.read_painting(one.model, fields, 1, expires=True)
    upstream, exchange = one.state.upstream, one.exchange
    life = exchange.overrides.life
    task = upstream.generate("FLUX", painting, exchange.request_id, life)
    if one.state.settings.flux_calls_back:
        task.on_end = lambda: _called_back(one, task)
    return faults.Upstream(body=paintings.bfl_accepted(task, painting))


def _accepted(one: _Submit, answer: faults.Upstream) -> Reply:
    """Note an acceptance and pass it on, or raise what refuses the job."""
    if answer.status not in {_OK, 202}:
        raise _refused_by_provider(one, answer)
    try:
        body = dict(read_object(answer.content))
    except ValueError as fault:
        raise _refused(one, _ERROR, f"解析响应失败: {fault}") from None
    if body.get("error"):
        raise _refused(one, 400, str(body["error"]))
    body.pop("webhook_url", None)
    body["cost"] = cents = body.get("cost") or price_of(one.model)
    task_id = str(body.get("id") or "")
    if task_id:
        body["polling_url"] = f"https://api.bfl.ai/v1/get_result?id={task_id}"
    units = int((cents if isinstance(cents, int | float) else 0) * UNITS_PER_CENT)
    one.row.accept(task_id, units, body)
    return as_json(go_json.ordered(body), status=answer.status)


def _refused_by_provider(one: _Submit, answer: faults.Upstream) -> RefusedPictureError:
    status = answer.status
    if status == _BUSY:
        return _refused(one, status, SATURATED, f"HTTP {status}: {SATURATED}")
    words = _words_of(answer.content)
    message = words or f"HTTP {status}: {_start_of(answer.content)}"
    refused = _refused(one, status, message, f"HTTP {status}: {words or message}")
    if status == _FORBIDDEN and any(each in message for each in _FEE_WORDS):
        _charge_fee(one)
    return refused


def _start_of(content: bytes) -> str:
    return content[:_SHOWN].decode("utf-8", "replace")


def _words_of(content: bytes) -> str:
    """Return the words of a provider's refusal, in the first form that fits."""
    try:
        body = read_object(content)
    except ValueError:
        return ""
    detail = body.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], Mapping):
        place = detail[0].get("loc")
        joined = ".".join(map(str, place)) if isinstance(place, list) else ""
        return f"{detail[0].get('msg')}" + (f" (loc: {joined})" if joined else "")
    found = (body.get(name) for name in ("detail", "error", "message"))
    return next((each for each in found if isinstance(each, str) and each), "")


# Money


def _charge(one: _Submit, units: int, text: str) -> None:
    charge = _charge_of(one.state, one.row, units, text)
    one.state.store.charge(one.key, charge)


def _charge_fee(one: _Submit) -> None:
    number = one.exchange.request_id
    _charge(one, FEE, f"xAI内容违规检查失败 [{number}]（已扣费$0.05）")


def _charge_of(
    state: RelayState, row: PictureRow, units: int, text: str, *, named: bool = True
) -> Charge:
    return Charge(
        request_id=row.request_id,
        task_id=row.task_id,
        units=units,
        account=row.account.number,
        key=row.key,
        seconds=state.seconds,
        model=row.model,
        action="FLUX",
        text=text,
        names_key=named,
    )


def _log_refusal(one: _Submit, text: str) -> None:
    charged = one.state.store.charges
    if charged and charged[-1].request_id == one.exchange.request_id:
        return  # the fee is the only entry
    refused = Refusal(
        request_id=one.exchange.request_id,
        text=text,
        account=one.key.account.number,
        key=one.key.text,
        seconds=one.state.seconds,
        model=one.model,
        kind=_REFUSAL_KIND,
    )
    one.state.store.log.append(refused)


def _succeed(state: RelayState, row: PictureRow, answer: Mapping[str, object]) -> None:
    """Note the first success of an open row, and charge its account."""
    if not row.is_open:
        return
    row.succeed(answer, state.seconds)
    text = f"Flux 任务成功，扣费 quota={row.quota}"
    charge = _charge_of(state, row, row.quota, text, named=False)
    state.store.charge_account(row.account, charge)


def _learn(state: RelayState, row: PictureRow, content: bytes) -> None:
    """Take over what the provider says of a task."""
    try:
        answer = read_object(content)
    except ValueError:
        return
    if answer.get("status") in {"Ready", "SUCCESS"}:
        _succeed(state, row, answer)
    elif answer.get("status") in _ENDS and row.is_open:
        row.fail(content.decode("utf-8", "replace"), state.seconds)


# Results


def _called_back(one: _Submit, task: UpstreamTask) -> None:
    """Receive the provider's call at the end of a task."""
    _learn(one.state, one.row, _own_result(one.state, task).content)


def _own_result(state: RelayState, task: UpstreamTask) -> faults.Upstream:
    painting = state.upstream.paintings[task.task_id]
    return faults.Upstream(body=paintings.bfl_result(task, painting, state.base_url))


async def callback(state: RelayState, exchange: Exchange) -> Reply:
    """Receive a call of the provider, which shows no key."""
    body = await exchange.read()
    try:
        fields = read_object(body)
    except ValueError as fault:
        return image_error(400, str(fault))
    row = state.pictures.find(str(fields.get("id") or fields.get("task_id") or ""))
    if row is None:
        return image_error(404, "task not found")
    _learn(state, row, body)
    return as_json({"message": "success"}, content_type=JSON_UTF8)


async def get_result(state: RelayState, exchange: Exchange, _key: Key) -> Reply:
    """Show a record of any account; with ``from_source`` ask the provider."""
    query = exchange.request.query
    task_id = query.get("id", "")
    if not task_id:
        return image_error(400, "id is required")
    row = state.pictures.find(task_id)
    if row is None:
        return image_error(404, "task not found")
    if query.get("from_source") in {"true", "1"}:
        return _from_source(state, exchange, row)
    _reconcile(state, row)
    state.upstream.poll(task_id)  # a look, for the script of a life
    if row.status == "success":
        return Reply(_OK, row.result.encode(), JSON)
    body = {"error": row.fail_reason, "id": task_id, "status": row.status}
    return as_json(body, content_type=JSON_UTF8)


def _from_source(state: RelayState, exchange: Exchange, row: PictureRow) -> Reply:
    if "channel_deleted" in exchange.overrides.trouble:
        return image_error(500, "failed to get channel")
    answer = exchange.overrides.upstream
    if answer is None:
        is_there = state.upstream.poll(row.task_id) is not None
        missing = {"id": row.task_id, "status": "Task not found", "result": None}
        answer = faults.Upstream(404, missing)
        if is_there:
            answer = _own_result(state, state.upstream.tasks[row.task_id])
    if answer.broken:
        call = f'Get "{_HOST}/v1/get_result?id={row.task_id}"'
        words = broken_call(answer.broken, call, _ADDRESS, _CLIENT)
        return image_error(500, f"请求失败: {words}")
    _reconcile(state, row)
    _learn(state, row, answer.content)
    return Reply(answer.status, answer.content, JSON)


def _reconcile(state: RelayState, row: PictureRow) -> None:
    """Fail a record that is too old, as the relay's own reconciler does."""
    is_late = state.seconds - row.created_at > _LATE
    if state.settings.flux_reconciler and is_late and row.is_open:
        row.fail(_TIMED_OUT, state.seconds)


ROUTES = (
    Route("GET", "/flux/v1/get_result", "flux_result", with_key(get_result)),
    Route("POST", "/flux/v1/([^/]+)", "flux", with_key(submit)),
    Route("POST", "/flux/internal/callback", "flux_callback", callback),
)
