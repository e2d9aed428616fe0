"""
The handlers of the OpenAI-compatible calls: deposit, upstream, answer, charge.

The order is that of ye4293/one-api ``relay/controller/text.go``, ``image.go`` and
``audio.go``. The real relay charges some milliseconds after the answer; here the charge
is there before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from attrs import frozen

from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply, api_error
from ezlink_async.emulator.relay.llm import (
    answers,
    pictures,
    prices,
    sounds,
    usage,
)
from ezlink_async.emulator.relay.llm.answers import Answer, RefusedError, refused
from ezlink_async.emulator.relay.llm.calls import Call, read_call
from ezlink_async.emulator.relay.routes import KeyHandler
from ezlink_async.emulator.relay.state import ForwardedCall, RelayState
from ezlink_async.emulator.relay.store import Charge, Key, Refusal

_LONGEST_SPEECH = 4096  # bytes
_GUIDELINES = "violates usage guidelines"
_FORBIDDEN = 403
_ERROR = 5  # the type of an entry of the log about a refusal


@frozen
class Relayed:
    """One call on its way: the emulator, the request, the caller's key, the call."""

    state: RelayState
    exchange: Exchange
    key: Key
    call: Call

    def charge(self, units: int) -> None:
        """Charge the call, and enter it into the log."""
        number = self.exchange.request_id
        charge = Charge(
            request_id=number,
            task_id="",
            units=units,
            account=self.key.account.number,
            key=self.key.text,
            seconds=self.state.seconds,
            model=self.call.model,
            action="",
        )
        self.state.store.charge(self.key, charge)

    def log_refusal(self, text: str) -> None:
        """Enter a refusal of the upstream, which costs nothing, into the log."""
        refusal = Refusal(
            request_id=self.exchange.request_id,
            text=text,
            account=self.key.account.number,
            key=self.key.text,
            seconds=self.state.seconds,
            model=self.call.model,
            kind=_ERROR,
        )
        self.state.store.log.append(refusal)


Handler = Callable[[Relayed], Awaitable[Reply]]
StandIn = Callable[[Call, int], Answer]


def serve(path: str, handler: Handler) -> KeyHandler:
    """Return *handler* behind the choice of an upstream by the model of the call."""

    async def relay(state: RelayState, exchange: Exchange, key: Key) -> Reply:
        call = await read_call(exchange, path)
        if call is None or not call.model:
            return answers.no_model(exchange.request_id)
        if "no_channel" in exchange.overrides.trouble or not prices.is_served(
            call.model
        ):
            text = (
                f"There are no channels available for model {call.model} under the"
                f" current group {key.account.group}"
            )
            return api_error(503, text, exchange.request_id)
        relayed = Relayed(state, exchange, key, call)
        try:
            return await handler(relayed)
        except RefusedError as error:
            return error.reply

    return relay


def text(stand_in: StandIn) -> Handler:
    """Return the handler of a chat, a completion, embeddings or a moderation."""

    async def relay(relayed: Relayed) -> Reply:
        call = relayed.call
        _check_text(call)
        sent = _sent(call)
        limit = call.number("max_completion_tokens") or call.number("max_tokens")
        required = prices.deposit(call.model, sent, limit)
        _check_deposit(relayed, required)
        seconds = relayed.state.seconds
        answer = await _asked(relayed, required, _plain(stand_in, call, seconds))
        _check(relayed, answers.check_text, answer)
        if call.is_set("stream"):
            _check(relayed, answers.check_events, answer)
            reply = answers.streamed(answer)
            used = usage.used_by_stream(reply.body, sent)
            relayed.charge(prices.units(call.model, used))
            return reply
        value = answers.check_document(answer)
        relayed.charge(prices.units(call.model, usage.used(value, sent)))
        return answers.passed_on(answer)

    return relay


async def picture(relayed: Relayed) -> Reply:
    """Relay a call that makes or edits pictures."""
    call = relayed.call
    size, quality = call.text("size"), call.text("quality")
    if words := prices.refused_size(call.model, size):
        raise refused(500, "get_image_cost_ratio_failed", words)
    number = 1 if call.path.endswith("edits") else call.number("n")
    price = prices.picture_price(call.model, size, quality, number)
    _check_deposit(relayed, price)
    trusted = prices.is_trusted(relayed.key.account.balance, price)
    try:
        answer = await _asked(
            relayed, 0, lambda: pictures.pictures(call, relayed.state)
        )
        _check(relayed, answers.check_picture, answer)
    except RefusedError as error:
        if error.counted and trusted:
            relayed.charge(price)
        raise
    units = price
    if pictures.is_priced_by_tokens(call.model):
        units = prices.units(call.model, usage.used_by_pictures(answer))
    relayed.charge(units)
    return answers.passed_on(answer, counted=True)


async def speech(relayed: Relayed) -> Reply:
    """Relay a text that is read out."""
    call = relayed.call
    words = call.text("input")
    if len(words.encode("utf-8", "replace")) > _LONGEST_SPEECH:
        message = "input is too long (over 4096 characters)"
        raise refused(400, "text_too_long", message)
    price = prices.speech_price(call.model, words)
    _check_deposit(relayed, price)
    answer = await _asked(relayed, price, _plain_media(sounds.speech, call))
    _check(relayed, answers.check_text, answer)
    relayed.charge(price)
    return answers.passed_on(answer)


async def transcription(relayed: Relayed) -> Reply:
    """Relay a sound whose text is wanted."""
    call = relayed.call
    _check_deposit(relayed, prices.deposit(call.model, 0, 0))
    answer = await _asked(relayed, 0, _plain_media(sounds.transcription, call))
    _check(relayed, answers.check_transcription, answer)
    if answer.is_stream:
        used = usage.used_by_stream(answer.content, 0)
        relayed.charge(prices.units(call.model, used))
        return answers.as_events(answer.content)
    form = call.text("response_format") or "json"
    relayed.charge(usage.transcription_units(answer, call.model, form))
    return answers.passed_on(answer)


async def no_handler(_relayed: Relayed) -> Reply:
    """Refuse a call that the relay routes and does not serve."""
    return answers.not_implemented()


# Before the upstream


def _check_text(call: Call) -> None:
    if call.path != "chat/completions":
        return
    messages = call.fields.get("messages")
    if messages is not None and not isinstance(messages, list):
        kind = {str: "string", bool: "bool", dict: "object"}.get(
            type(messages), "number"
        )
        raise refused(
            400,
            "invalid_text_request",
            f"json: cannot unmarshal {kind} into Go struct field "
            "GeneralOpenAIRequest.messages of type []model.Message",
        )
    if not messages:
        raise refused(400, "invalid_text_request", "field messages is required")


def _sent(call: Call) -> int:
    messages = call.fields.get("messages")
    if isinstance(messages, list):
        return prices.count_messages(messages)
    name = "prompt" if call.path == "completions" else "input"
    return prices.count("".join(call.texts(name)))


def _check_deposit(relayed: Relayed, required: int) -> None:
    """Refuse unless balance and, where a deposit is booked, the key can pay it."""
    key = relayed.key
    if key.account.balance < required:
        raise refused(403, "insufficient_user_quota", "user quota is not enough")
    short = key.quota is not None and key.quota < required
    if short and not prices.is_trusted(key.account.balance, required):
        message = "Insufficient token amount"
        raise refused(403, "pre_consume_token_quota_failed", message)


# The upstream


def _plain(
    stand_in: StandIn, call: Call, seconds: int
) -> Callable[[], Awaitable[Answer]]:
    async def answer() -> Answer:
        # Vectors of many texts take seconds, in which others are to be served.
        return await asyncio.to_thread(stand_in, call, seconds)

    return answer


def _plain_media(
    stand_in: Callable[[Call], Answer], call: Call
) -> Callable[[], Awaitable[Answer]]:
    return _plain(lambda given, _seconds: stand_in(given), call, 0)


async def _asked(
    relayed: Relayed, required: int, stand_in: Callable[[], Awaitable[Answer]]
) -> Answer:
    """Return the upstream's answer: the one that a test scripted, or the stand-in's."""
    fault = relayed.exchange.overrides.upstream
    path = f"/v1/{relayed.call.path}"
    if fault is None or fault.broken != "refused":
        body = dict(relayed.call.fields)
        relayed.state.forwarded.append(ForwardedCall("POST", path, body))
    if fault is None:
        return await stand_in()
    if not fault.broken:
        return Answer.scripted(fault)
    error = answers.broken_call(fault.broken, relayed.call.path)
    trusted = prices.is_trusted(relayed.key.account.balance, required)
    if error.kept and required and not trusted:
        relayed.charge(required)
    raise error


def _check(relayed: Relayed, check: Callable[[Answer], None], answer: Answer) -> None:
    """Raise an error of the upstream, once it is in the log."""
    try:
        check(answer)
    except RefusedError as error:
        if answer.status == _FORBIDDEN and _GUIDELINES in str(error):
            relayed.charge(prices.GUIDELINES_FEE)
        else:
            relayed.log_refusal(str(error))
        raise
