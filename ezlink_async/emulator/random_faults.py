"""
Faults that strike at random, by name, for a server that is tried by hand.

``ezlink serve --fault lost:0.05`` loses the answer of every twentieth submit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ezlink_async.emulator import faults, scripts

#: The kinds of request that make a paid job.
_SUBMITS = (
    *("submit", "imagine", "blend", "describe", "shorten", "action", "modal", "change"),
)
#: The kind of request that each fault strikes, and the fault; ``submit`` stands for
#: all submits, ``fetch`` for all queries of one task, ``image`` for all results.
RANDOM_FAULTS: dict[str, tuple[str, faults.Fault]] = {
    "busy": ("submit", faults.queue_full()),
    "dropped": ("submit", faults.Drop()),
    "failed": ("submit", faults.Life(scripts.fails())),
    "gateway": ("submit", faults.proxy(504, job=True)),
    "lost": ("submit", faults.Drop(job=True)),
    "refused": ("submit", faults.banned_word()),
    "unavailable": ("fetch", faults.proxy(503)),
    "cut": ("image", faults.Cut(keep=100)),
}
#: The kinds of request of all families that a fault strikes, by Midjourney's own.
_STRUCK: dict[str, tuple[str, ...]] = {
    "submit": (*_SUBMITS, "video", "images", "flux"),
    "fetch": ("fetch", "video_result", "images_result", "flux_result"),
    "image": ("image", "video_file", "picture"),
}


def _refusal(status: int, message: str) -> faults.Answer:
    """Return a refusal of the routes of videos and images."""
    error = f'{{"error":{{"code":"api_error","message":"{message}","param":"",'
    return faults.Answer(status, error + '"type":"api_error"}}', "application/json")


_FULL = _refusal(429, "The current group upstream load is saturated")
_UNFIT = _refusal(400, "API error (400): the prompt was refused")
#: What strikes where the refusal of a swap is none, by fault and kind of request.
_INSTEAD: dict[str, dict[str, faults.Fault]] = {
    "busy": {"video": _FULL, "images": _FULL, "flux": faults.Upstream(429)},
    "refused": {
        "video": _UNFIT,
        "images": _UNFIT,
        "flux": faults.Upstream(400, {"detail": "the prompt was refused"}),
    },
}


def read_random_faults(texts: Iterable[str]) -> dict[str, faults.Mixture]:
    """
    Return the fault of each kind of request, from texts such as ``lost:0.05``.

    A fault strikes swaps, Midjourney's jobs, videos, images and Flux alike.

    ValueError for an unknown name, a rate that is no number from 0 to 1, and rates of
    one kind of request that are more than 1 together.
    """
    shares: defaultdict[str, list[tuple[float, faults.Fault]]] = defaultdict(list)
    for text in texts:
        name, _, rate = text.partition(":")
        if name not in RANDOM_FAULTS:
            raise ValueError(
                f"{text!r} is no fault: write KIND:RATE, such as lost:0.05; kinds: "
                + ", ".join(RANDOM_FAULTS)
            )
        struck, fault = RANDOM_FAULTS[name]
        for kind in _STRUCK[struck]:
            instead = _INSTEAD.get(name, {}).get(kind, fault)
            shares[kind].append((_rate(text, rate), instead))
    return {kind: faults.Mixture(tuple(each)) for kind, each in shares.items()}


def _rate(text: str, rate: str) -> float:
    try:
        number = float(rate)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError(f"{text!r}: the rate is a number from 0 to 1, such as 0.05")
    return number
