"""
What a Midjourney submit asks for, where it is forwarded to, and what it costs.

Pure rules, after ye4293/one-api ``relay/channel/midjourney/main.go``
CoverPlusActionToNormalAction and ``relay/controller/midjourney.go``
RelayMidjourneySubmit, and as seen on the running server.
"""

from __future__ import annotations

import re

from attrs import frozen

from ezlink_async.emulator.relay.midjourney.answers import RefusedCallError
from ezlink_async.emulator.relay.midjourney.bodies import number_of, text_of

_MODES = ("fast", "turbo", "relax")  # of several flags the first in this order counts
_FLAGS = re.compile("--(?:fast|turbo|relax)")
_BY_MODE = {"fast": 18_000, "turbo": 40_000, "relax": 6_000}
_PRICED_BY_MODE = {"mj_imagine", "mj_shorten", "mj_modal"}
_PRICES = {
    "mj_blend": 18_000,
    "mj_describe": 9_000,
    "mj_upscale": 9_000,
    "mj_zoom": 9_000,
    "mj_variation": 18_000,
    "mj_high_variation": 18_000,
    "mj_low_variation": 18_000,
    "mj_reroll": 18_000,
    "mj_pan": 18_000,
    "mj_inpaint": 18_000,
    "mj_custom_zoom": 18_000,
}
#: Actions that are not charged, although a failure gives their price back.
FREE = {"INPAINT", "CUSTOM_ZOOM"}
_EXACT_VERBS = {"Outpaint": "ZOOM", "CustomZoom": "CUSTOM_ZOOM", "Inpaint": "INPAINT"}
_VARIATIONS = ("variation", "low_variation", "high_variation")
_INDEX = re.compile("[+-]?[0-9]{1,18}")
# Channel type 32 is a Midjourney proxy that takes the mode from the prompt alone.
_PLAIN_CHANNEL = 32


class PanicError(Exception):
    """The relay indexes a list behind its end: a 500 with an empty body."""


@frozen
class Call:
    """
    One submit: its *name* in the path, and its fields as they came.

    *action* and *index* are read from the custom id where the call has one.
    """

    name: str
    fields: dict[str, object]
    action: str
    index: int

    @property
    def model(self) -> str:
        """The model by which the relay chooses an upstream."""
        # A modal without a task is served by the modal's model as well.
        return f"mj_{'modal' if self.name == 'modal' else self.action.lower()}"

    @property
    def is_served(self) -> bool:
        """Whether an upstream serves the model."""
        return self.model in _PRICES or self.model in _PRICED_BY_MODE

    @property
    def parent(self) -> str:
        """The id of the task that the call goes on from, or an empty text."""
        follows = self.name in {"action", "modal", "change", "simple-change"}
        return text_of(self.fields, "taskId") if follows else ""

    def price(self, mode: str) -> int:
        """Return units, 500,000 to the dollar."""
        if self.model not in _PRICED_BY_MODE:
            return _PRICES[self.model]
        return _BY_MODE[mode if self.action else "fast"]

    def row_mode(self, mode: str) -> str:
        """Return the mode that the row keeps: fast unless it decides the price."""
        return mode if self.model in _PRICED_BY_MODE else "fast"


def read_call(name: str, fields: dict[str, object]) -> Call:
    """
    Return the submit that *fields* ask for.

    RefusedCallError for a custom id that names no action, PanicError for one that
    the relay splits without looking.
    """
    if name == "action":
        return Call(name, fields, *_split(text_of(fields, "customId")))
    action, index = text_of(fields, "action"), number_of(fields, "index")
    if name in {"change", "simple-change"}:
        return Call(name, fields, action, index)
    if name == "modal":
        return Call(name, fields, "MODAL" if text_of(fields, "taskId") else "", 0)
    return Call(name, fields, name.upper(), 0)


def _split(custom_id: str) -> tuple[str, int]:
    """Return action and index of a button."""
    if not custom_id:
        raise RefusedCallError(4, "custom_id_is_required")
    parts = custom_id.split("::")
    verb = _part(parts, 2 if _part(parts, 1) == "JOB" else 1)
    if not verb:
        raise RefusedCallError(4, "unknown_action")
    action = _action_of(verb)
    if action is None:
        raise RefusedCallError(4, f"unknown_action:{custom_id}")
    return action, _index(parts) if action in {"UPSCALE", "VARIATION"} else 1


def _action_of(verb: str) -> str | None:
    if "upsample" in verb:
        return "UPSCALE"
    if "variation" in verb:  # another one has no action, and so no model
        return verb.upper() if verb in _VARIATIONS else ""
    for word in ("pan", "reroll"):
        if word in verb:
            return word.upper()
    return _EXACT_VERBS.get(verb)


def _part(parts: list[str], number: int) -> str:
    if number >= len(parts):
        raise PanicError
    return parts[number]


def _index(parts: list[str]) -> int:
    text = _part(parts, 3)
    if not _INDEX.fullmatch(text):
        raise RefusedCallError(4, "index_parse_failed")
    return int(text)


# The mode


def prefix_of(path: str) -> str:
    """Return what stands before ``/mj/`` in the path: ``mj-turbo``, or nothing."""
    first = path.split("/")[1]
    return "" if first == "mj" and not path.startswith("/mj/mj/") else first


def read_mode(prefix: str, prompt: str) -> str:
    """Return the mode of a call; a known prefix goes before the flags."""
    named = prefix.removeprefix("mj-")
    if prefix and named in _MODES:
        return named
    words = prompt.split()
    return next((mode for mode in _MODES if f"--{mode}" in words), "fast")


def row_prompt(prefix: str, prompt: str) -> str:
    """Return the prompt as the row keeps it: under a known prefix with its flag."""
    named = prefix.removeprefix("mj-")
    if not prefix or named not in _MODES:
        return prompt
    return f"{_FLAGS.sub('', prompt).strip()} --{named}"


def forwarded_path(prefix: str, mode: str, name: str, channel_type: int) -> str:
    """Return the path at the upstream."""
    plain = f"/mj/submit/{name}"
    if channel_type == _PLAIN_CHANNEL:
        return plain
    if not prefix:
        return f"/mj-{mode}{plain}"
    if prefix.removeprefix("mj-") in _MODES:
        return f"/{prefix}{plain}"
    return f"/{prefix}/mj-{mode}{plain}"
