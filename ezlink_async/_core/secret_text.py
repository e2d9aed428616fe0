"""
Text that may be a secret, as a value whose repr shows none of it.

Tools that record errors print the local variables of each frame by their repr.
So the key, the account's token and all text of the environment and the profile,
which may be either by mistake, are kept as :class:`SecretText` from where they
come in. Methods of ``str`` return plain text: their results stay out of frames
that an exception passes.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs


class SecretText(str):
    """A text that is used as any other, and that its repr does not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@attrs.frozen
class WrongKind:
    """Stands for a value in place of a text, of which only the type is kept."""

    name: str


def hide_text(text: str) -> SecretText:
    """Return *text* with a repr that does not show it."""
    return SecretText(text)


def hide_optional(text: str | None) -> str | None:
    """Return *text* with a repr that does not show it; ``None`` as it is."""
    return text if text is None else SecretText(text)


def hide_argument(value: object) -> SecretText | WrongKind | None:
    """Return a text with a repr that hides it, and of other values the type only."""
    if isinstance(value, str):
        return SecretText(value)
    return None if value is None else WrongKind(type(value).__name__)


def hide_texts(value: object) -> object:
    """Return *value* with each text in it hidden, in mappings and lists too."""
    if isinstance(value, str):
        return SecretText(value)
    if isinstance(value, Mapping):
        return {name: hide_texts(each) for name, each in value.items()}
    if isinstance(value, list):
        return [hide_texts(each) for each in value]
    return value


def hide_table(rows: Mapping[str, object]) -> dict[str, object]:
    """Return *rows* with each text in it hidden."""
    return {name: hide_texts(each) for name, each in rows.items()}
