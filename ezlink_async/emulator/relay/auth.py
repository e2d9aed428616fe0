"""
Who is asking: the key taken from the headers and looked up.

Order and texts are those of ye4293/one-api ``middleware/auth.go`` TokenAuth.
"""

from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply, api_error
from ezlink_async.emulator.relay.store import Account, Key, Store

__all__ = ["account_by_token", "authenticate"]

_UNKNOWN = "Token not provided"


def authenticate(exchange: Exchange, store: Store, seconds: int) -> Key | Reply:
    """Return the caller's key, or the refusal to send."""
    trouble = exchange.overrides.trouble
    number = exchange.request_id
    if "token_verification" in trouble:
        return api_error(401, "Token verification failed", number)
    text, dash, _ = _presented(exchange).removeprefix("sk-").partition("-")
    key = store.keys.get(text)
    refusal = _UNKNOWN if key is None else key.trouble(seconds)
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


def _presented(exchange: Exchange) -> str:
    given = exchange.header("Authorization").removeprefix("Bearer ")
    if given in {"", "midjourney-proxy"}:
        given = exchange.header("mj-api-secret").removeprefix("Bearer ")
    return given


def account_by_token(exchange: Exchange, store: Store) -> Account | str:
    """Return the account whose dashboard token was sent, or why there is none."""
    given = exchange.header("Authorization").removeprefix("Bearer ")
    if not given:
        return (
            "Not authorized for this operation, not logged in and"
            " no access token provided"
        )
    for account in store.accounts:
        if account.token == given:
            return account
    return "Not authorized to perform this operation, access token is invalid"
