"""
What the job requests of Midjourney have in common, and what they cost.

Prices are the server's defaults, in units: 500,000 to the US dollar; operators may
have others.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from ezlink_async.errors import ConfigurationError
from ezlink_async.models import TaskRecord
from ezlink_async.services.base import JobRequest, TaskFamily
from ezlink_async.services.midjourney.submits import Mode, SubmitOptions
from ezlink_async.services.midjourney.tasks import MIDJOURNEY

RELAX_DEADLINE = 3_900.0
"""Seconds to the deadline of a task in relax mode: the server gives up after 3,600."""

PRICES = {Mode.FAST: 18_000, Mode.TURBO: 40_000, Mode.RELAX: 6_000}
"""What an imagine, a shorten and a modal cost."""

LABEL = 60
"""How many characters of a prompt stand in a label."""


def checked_prompt(prompt: object) -> str:
    """
    Refuse a prompt that is blank, or holds a NUL, which not every database stores.

    The server would charge both.
    """
    if not isinstance(prompt, str) or not prompt.strip() or "\0" in prompt:
        raise ConfigurationError(
            f"the prompt is a text that says something: {prompt!r}"
        )
    return prompt


def check_choice(value: object, name: str, words: Iterable[str]) -> None:
    """Refuse a *value* that is neither ``None`` nor one of *words*."""
    if value is not None and value not in tuple(words):
        listed = ", ".join(map(repr, words))
        raise ConfigurationError(f"{name} is one of {listed}, not {value!r}")


@attrs.frozen(kw_only=True)
class MidjourneyRequest(SubmitOptions, JobRequest[TaskRecord]):
    """
    A job request of a call below ``/mj/submit``.

    *state* comes back in the records; the server's upstream calls *notify_hook*,
    unsigned; *account_filter* is sent as the API's page documents it.
    """

    @property
    def family(self) -> TaskFamily[TaskRecord]:
        """A submit becomes a task behind ``/mj/task/``."""
        return MIDJOURNEY

    @property
    def charged_mode(self) -> Mode | None:
        """The mode in which the server does the job; ``None`` if it is not known."""
        return None

    @property
    def deadline(self) -> float | None:
        """Seconds from acceptance to the task's deadline; ``None``: the family's."""
        return RELAX_DEADLINE if self.charged_mode is Mode.RELAX else None
