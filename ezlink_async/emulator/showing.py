"""
Pictures and balances: what is shown without the Midjourney envelopes.

After ye4293/one-api ``controller/midjourney.go`` RelayMidjourneyImage and
``controller/billing.go``.
"""

from __future__ import annotations

from ezlink_async.emulator.circumstances import PictureTrouble
from ezlink_async.emulator.desk import Desk
from ezlink_async.emulator.exchange import Exchange
from ezlink_async.emulator.replies import JSON_UTF8, Reply, as_json, image_error
from ezlink_async.emulator.store import Key

__all__ = ["cdn", "image", "subscription", "usage"]

_UNITS_PER_DOLLAR = 500_000
_NO_LIMIT = 100_000_000
_OK = 200
_MAGIC = {b"\x89PNG": "image/png", b"RIFF": "image/webp"}


async def image(desk: Desk, exchange: Exchange, task_id: str) -> Reply:
    """Stream the picture of a task; no key is asked for."""
    desk.look()
    rows = desk.store.rows_of(task_id)
    if not rows or "tasks_unreadable" in exchange.circumstances.trouble:
        return image_error(400, "midjourney_task_not_found")
    trouble = exchange.circumstances.picture or PictureTrouble()
    if trouble.broken or not rows[0].image_url:
        return image_error(500, "http_get_image_failed")
    return _passed_on(trouble, desk.upstream.gallery.get(task_id))


def _passed_on(trouble: PictureTrouble, kept: bytes | None) -> Reply:
    if trouble.status != _OK:
        text = (trouble.content or b"").decode("utf-8", "replace")
        return image_error(trouble.status, text)
    content = kept if trouble.content is None else trouble.content
    if content is None:
        return image_error(404, "the link has expired")
    named = trouble.content_type
    if named == "":
        named = _MAGIC.get(content[:4], "image/jpeg")
    return Reply(
        _OK,
        content if trouble.keep is None else content[: trouble.keep],
        named or "image/jpeg",
        drip=trouble.drip,
        block=trouble.block,
    )


async def cdn(desk: Desk, _exchange: Exchange, task_id: str) -> Reply:
    """Serve a result at the address the upstream names in its notifications."""
    return _passed_on(PictureTrouble(), desk.upstream.gallery.get(task_id))


async def subscription(
    desk: Desk, exchange: Exchange, key: Key, _task_id: str
) -> Reply:
    """Show a limit in dollars: what is left and what was used of the key."""
    limit: float = _NO_LIMIT
    expires = key.expires
    if desk.settings.shows_account:
        # What was used is not added here: a slip in GetSubscription.
        limit, expires = key.account.balance / _UNITS_PER_DOLLAR, 0
    elif key.quota is not None:
        limit = (key.quota + key.used) / _UNITS_PER_DOLLAR
    value = {
        "object": "billing_subscription",
        "has_payment_method": True,
        "soft_limit_usd": limit,
        "hard_limit_usd": limit,
        "system_hard_limit_usd": limit,
        "access_until": expires,
    }
    return _packed(exchange, as_json(value, content_type=JSON_UTF8))


async def usage(desk: Desk, exchange: Exchange, key: Key, _task_id: str) -> Reply:
    """Show what the key, or its account, has used, in cents."""
    used = key.account.used if desk.settings.shows_account else key.used
    value = {"object": "list", "total_usage": used / _UNITS_PER_DOLLAR * 100}
    return _packed(exchange, as_json(value, content_type=JSON_UTF8))


def _packed(exchange: Exchange, reply: Reply) -> Reply:
    return reply.packed() if "gzip" in exchange.header("Accept-Encoding") else reply
