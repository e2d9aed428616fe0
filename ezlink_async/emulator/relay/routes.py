"""
Routes of the relay, and the credentials that open them.

Order and texts of a key's refusals are those of ye4293/one-api
``middleware/auth.go`` TokenAuth.
"""

from collections.abc import Awaitable, Callable

from attrs import frozen

from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import JSON_UTF8, Reply, api_error, as_json
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Account, Key

Handler = Callable[[RelayState, Exchange], Awaitable[Reply]]
KeyHandler = Callable[[RelayState, Exchange, Key], Awaitable[Reply]]
AccountHandler = Callable[[RelayState, Exchange, Account], Awaitable[Reply]]

_UNKNOWN = "Token not provided"
_INVALID = "Not authorized to perform this operation, access token is invalid"
_MISSING = (
    "Not authorized for this operation, not logged in and no access token provided"
)


@frozen
class Route:
    """
    One path and its handler; the group of *pattern*, if any, is the task's id.

    *kind* names the requests in scripts of faults; several routes may share one. It
    is empty for the emulator's own paths, which are neither recorded nor disturbed.
    """

    method: str
    pattern: str
    kind: str
    handler: Handler


def with_key(handler: KeyHandler) -> Handler:
    """Return *handler* behind the check of the caller's key."""

    async def checked(state: RelayState, exchange: Exchange) -> Reply:
        key = _key_of(state, exchange)
        return key if isinstance(key, Reply) else await handler(state, exchange, key)

    return checked


def with_account(handler: AccountHandler) -> Handler:
    """Return *handler* behind the check of an account's access token."""

    async def checked(state: RelayState, exchange: Exchange) -> Reply:
        given = exchange.header("Authorization").removeprefix("Bearer ")
        for account in state.store.accounts:
            if given and account.token == given:
                return await handler(state, exchange, account)
        refusal = {"message": _INVALID if given else _MISSING, "success": False}
        return as_json(refusal, status=401, content_type=JSON_UTF8, vary=1)

    return checked


def _key_of(state: RelayState, exchange: Exchange) -> Key | Reply:
    trouble = exchange.overrides.trouble
    number = exchange.request_id
    if "token_verification" in trouble:
        return api_error(401, "Token verification failed", number)
    text, dash, _ = _sent_key(exchange).removeprefix("sk-").partition("-")
    key = state.store.keys.get(text)
    refusal = _UNKNOWN if key is None else key.why_refused(state.seconds)
    if key is None or refusal is not None:
        return api_error(401, refusal or _UNKNOWN, number)
    if "user_lookup" in trouble:
        return api_error(500, "no such table: users", number)
    if key.account.banned:
        return api_error(403, "User has been banned", number)
    if dash:
        text = "Ordinary users do not support designated channels"
        return api_error(403, text, number)
    return key


def _sent_key(exchange: Exchange) -> str:
    if exchange.path.startswith("/flux/") and exchange.header("x-key"):
        return exchange.header("x-key")
    given = exchange.header("Authorization").removeprefix("Bearer ")
    if given in {"", "midjourney-proxy"}:
        given = exchange.header("mj-api-secret").removeprefix("Bearer ")
    return given
