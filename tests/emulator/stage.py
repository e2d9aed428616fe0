"""An emulator, and its ids in place of the recorded ones."""

from __future__ import annotations

from collections.abc import Mapping

from ezlink_async.emulator import Emulator, scripts
from tests.support.emulator_requests import RawApi


class Stage:
    """An emulator, and its ids in place of the recorded ones."""

    def __init__(self, emulator: Emulator) -> None:
        self.emu = emulator
        self.control = emulator.control
        self.api = RawApi(emulator)
        self.ids: dict[str, str] = {}
        self.key = emulator.api_key

    async def task(self, sample_id: str) -> None:
        """Make a task in place of the recorded one."""
        self.ids[sample_id] = await self.api.submit()

    async def task_in(
        self, sample_id: str, view: Mapping[str, object], after: float = 0
    ) -> None:
        """Make a task that the relay polls once, *after* seconds, with this view."""
        self.control.script_tasks(scripts.sequence(view))
        await self.task(sample_id)
        self.control.advance(after)
        self.control.beat()
