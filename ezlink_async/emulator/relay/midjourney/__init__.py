"""
The Midjourney family: submits, fetch, list, picture and seed.

``swap`` has the face swap and ``submits`` all other submits; ``calls`` says what a
submit asks for and costs.
"""

from ezlink_async.emulator.relay.midjourney.submits import submit
from ezlink_async.emulator.relay.midjourney.swap import swap
from ezlink_async.emulator.relay.midjourney.tasks import (
    cdn,
    fetch,
    image,
    list_by_condition,
    seed,
)
from ezlink_async.emulator.relay.routes import Route, with_key

_MJ = "(?:/[^/]+)?/mj"


def _submit(name: str, kind: str = "") -> Route:
    handler = with_key(lambda state, exchange, key: submit(state, exchange, key, name))
    return Route("POST", f"{_MJ}/submit/{name}", kind or name, handler)


ROUTES = (
    Route("POST", f"{_MJ}/insight-face/swap", "submit", with_key(swap)),
    Route("GET", f"{_MJ}/task/([^/]*)/fetch", "fetch", with_key(fetch)),
    Route("POST", f"{_MJ}/task/list-by-condition", "list", with_key(list_by_condition)),
    Route("GET", f"{_MJ}/task/([^/]+)/image-seed", "seed", with_key(seed)),
    Route("GET", f"{_MJ}/image/([^/]+)", "image", image),
    Route("GET", "/__emu/cdn/([^/]+)", "", cdn),
    *map(_submit, ("imagine", "blend", "describe", "shorten", "action", "modal")),
    _submit("change"),
    _submit("simple-change", "change"),
)
