"""
The buttons under a finished task, read as the server reads them.

A button is known by its custom id, whose parts stand between ``::``:
``MJ::JOB::upsample::2::UUID``, ``MJ::Outpaint::50::1::UUID::SOLO``. Source:
``ye4293/one-api`` (``relay/channel/midjourney``, CoverPlusActionToNormalAction).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import attrs

from ezlink_async.errors import ConfigurationError

# A verb leads to the action of the first word that it has.
_BY_WORD = {
    "upsample": "UPSCALE",
    "variation": None,
    "pan": "PAN",
    "reroll": "REROLL",
}
_BY_VERB = {
    "variation": "VARIATION",
    "high_variation": "HIGH_VARIATION",
    "low_variation": "LOW_VARIATION",
    "Outpaint": "ZOOM",
    "CustomZoom": "CUSTOM_ZOOM",
    "Inpaint": "INPAINT",
}

REGION = "INPAINT"
"""The action that waits for a mask."""

DIALOGS = ("CUSTOM_ZOOM", REGION)
"""The actions that wait for a prompt or a mask, and are free; their modal is not."""

_ZOOMS = {2.0: 50, 1.5: 75}

_PLAIN_ZOOMS = "2 or 1.5; custom_zoom() has others"

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)

_INDEX = 3  # the part in which the server looks for the number of a picture


def _parts(custom_id: str | None) -> tuple[list[str], int]:
    """Return the parts of a custom id, and which of them is the verb."""
    parts = (custom_id or "").split("::")
    return parts, 2 if parts[1:2] == ["JOB"] else 1


def _part(parts: list[str], number: int) -> str:
    return parts[number] if number < len(parts) else ""


def _is_numbered(verb: str) -> bool:
    """Return whether the server needs the number of a picture with *verb*."""
    return "upsample" in verb or verb == "variation"


@attrs.frozen
class Button:
    """
    A follow-up action that the server offers on a finished task.

    *task_id* is the task it belongs to. Press it with
    ``client.midjourney.action(button)``: each time is charged, also when the
    server answers with the earlier result.
    """

    custom_id: str | None = None
    emoji: str | None = None
    label: str | None = None
    type: int | None = None
    style: int | None = None
    task_id: str = ""

    @property
    def verb(self) -> str:
        """What the button does, in the server's words; empty if it does nothing."""
        return _part(*_parts(self.custom_id))

    @property
    def index(self) -> int | None:
        """The number with the verb: of a picture, or the kind of a zoom."""
        parts, verb = _parts(self.custom_id)
        place = _INDEX if _is_numbered(_part(parts, verb)) else verb + 1
        text = _part(parts, place)
        return int(text) if _NUMBER.fullmatch(text) else None

    @property
    def leads_to(self) -> str | None:
        """
        The action of the new task; ``None`` if the server knows no such action.

        It refuses such a button, and charges nothing.
        """
        verb = self.verb
        action = _BY_VERB.get(verb)
        return action or next((a for word, a in _BY_WORD.items() if word in verb), None)

    @property
    def needs_input(self) -> bool:
        """Whether the new task waits for a prompt or a mask."""
        return self.leads_to in DIALOGS

    @property
    def name(self) -> str:
        """The words on the button, for a person to read."""
        return self.label or self.emoji or self.custom_id or "?"

    def check(self) -> None:
        """
        Refuse a custom id that breaks the server.

        :exc:`ConfigurationError` when it has no ``::``, no verb, or no number from 1
        where the server needs one.
        """
        if not self.verb:
            raise ConfigurationError(f"{self.custom_id!r} is no button's custom id")
        if _is_numbered(self.verb) and not self.index:
            raise ConfigurationError(
                f"{self.custom_id!r} does not say which picture, by a number from 1"
            )


_BY_STRENGTH = {"strong": "high_variation", "subtle": "low_variation"}


def _plain(text: str | None) -> str:
    """Return a label or emoji without case, blanks and variation selectors."""
    return re.sub(r"[\s\ufe0f]+", "", text or "").casefold()


def _one_of(index: object, how: object) -> None:
    if (index is None) is (how is None):
        raise ConfigurationError("give the number of a picture, or how=")


class ButtonLookup:
    """
    Finds the buttons of a record, by what they do and never by their place.

    Every method raises :exc:`ConfigurationError`, which lists the buttons that there
    are, when the record does not have the one asked for. None sends anything.
    """

    __slots__ = ()

    task_id: str
    buttons: tuple[Button, ...]

    def button(self, name: str) -> Button:
        """Return the button with this label, emoji or custom id."""
        given: object = name
        if not isinstance(given, str):
            raise self._absent(f"a button is called by a text, not {given!r:.80}")
        for each in self.buttons:
            if each.custom_id == name:
                return each
        wanted = _plain(name)
        found = [
            each
            for each in self.buttons
            if wanted and wanted in {_plain(each.label), _plain(each.emoji)}
        ]
        if len(found) > 1:
            raise self._absent(f"{len(found)} buttons are called {name!r}")
        return found[0] if found else self._first(f"{name!r}", lambda _: False)

    def upscale(
        self,
        index: int | None = None,
        *,
        how: Literal["subtle", "creative"] | None = None,
    ) -> Button:
        """Return the button that enlarges picture *index*, or an enlarged one *how*."""
        _one_of(index, how)
        if how is None:
            return self._numbered("upsample", index)
        ending = f"_{how}"
        return self._first(
            f"upscale ({how})",
            lambda b: "upsample" in b.verb and b.verb.endswith(ending),
        )

    def variation(
        self,
        index: int | None = None,
        *,
        how: Literal["strong", "subtle"] | None = None,
    ) -> Button:
        """Return the button that varies picture *index*, or an enlarged one *how*."""
        _one_of(index, how)
        if how is None:
            return self._numbered("variation", index)
        verb = _BY_STRENGTH.get(str(how))
        return self._first(f"variation ({how})", lambda b: b.verb == verb)

    def reroll(self) -> Button:
        """Return the button that makes the same pictures anew."""
        return self._first("reroll", lambda b: b.leads_to == "REROLL")

    def zoom(self, factor: float) -> Button:
        """Return the button that zooms out by 2 or 1.5."""
        given: object = factor
        index = _ZOOMS.get(factor) if isinstance(given, int | float) else None
        if index is None:
            raise ConfigurationError(f"zoom is {_PLAIN_ZOOMS}, not {factor!r}")
        return self._first(
            f"zoom {factor:g}", lambda b: (b.verb, b.index) == ("Outpaint", index)
        )

    def pan(self, direction: Literal["left", "right", "up", "down"]) -> Button:
        """Return the button that extends the picture in this direction."""
        return self._first(f"pan {direction}", lambda b: b.verb == f"pan_{direction}")

    def region(self) -> Button:
        """Return the button that changes a region; it needs a prompt and a mask."""
        return self._first("region", lambda b: b.verb == "Inpaint")

    def custom_zoom(self) -> Button:
        """Return the button that zooms out as its prompt says."""
        return self._first("custom zoom", lambda b: b.verb == "CustomZoom")

    def _numbered(self, verb: str, index: int | None) -> Button:
        return self._first(
            f"{verb} {index}", lambda b: (b.verb, b.index) == (verb, index)
        )

    def _first(self, wanted: str, fits: Callable[[Button], bool]) -> Button:
        for each in self.buttons:
            if fits(each):
                return each
        raise self._absent(f"there is no button {wanted}")

    def _absent(self, says: str) -> ConfigurationError:
        names = ", ".join(f"{b.name!r}" for b in self.buttons) or "none"
        return ConfigurationError(f"task {self.task_id}: {says}; it has {names}")
