"""The outcome of one swap of many: what it says, and the way to its result."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from ezlink_async import SwapOutcome, errors
from ezlink_async.models import TaskRecord, TaskStatus
from tests.support.scripted_transport import BASE, poller_harness, reply, row

JPEG = b"\xff\xd8\xff\xe0\x00\x04ab" + b"\xff\xda\x00\x04ab" + b"picture" + b"\xff\xd9"
DONE = TaskRecord(
    task_id="7", status=TaskStatus.SUCCESS, image_url=f"{BASE}/mj/image/7"
)


async def test_outcome_of_a_success_leads_to_its_picture(tmp_path: Path) -> None:
    pictures = {f"{BASE}/mj/image/7": JPEG}
    async with poller_harness(
        lambda _: reply(row("7", "SUCCESS")), pictures=pictures
    ) as here:
        handle = here.follow("7")
        outcome = SwapOutcome("me", Path("a.jpg"), handle, await handle)
        assert outcome.ok
        assert outcome.unwrap() is handle
        assert await outcome.read() == JPEG
        assert (await outcome.save(tmp_path / "a.jpg")).read_bytes() == JPEG


async def test_outcome_of_a_failure_raises_its_error() -> None:
    outcome = SwapOutcome("me", "a.jpg", error=errors.QuotaError("no money", code=3))
    assert not outcome.ok
    with pytest.raises(errors.QuotaError, match="no money") as caught:
        outcome.unwrap()
    assert caught.value is not outcome.error  # each caller has a traceback of its own
    with pytest.raises(errors.QuotaError):
        await outcome.read()
    with pytest.raises(errors.QuotaError):
        await outcome.save("no-such-folder/a.jpg")


def test_outcome_made_by_hand_without_handle_and_error_is_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="neither a handle nor"):
        SwapOutcome("me", "a.jpg", record=DONE).unwrap()


def test_outcome_keeps_its_attributes_and_has_them_as_a_request() -> None:
    outcome = SwapOutcome("me", Path("a.jpg"), None, DONE)
    assert (outcome.request.source, outcome.request.target) == ("me", Path("a.jpg"))
    assert repr(outcome).startswith("SwapOutcome(source='me', target=")
    assert attrs.evolve(outcome, target=Path("b.jpg")).request.target == Path("b.jpg")
    assert outcome == SwapOutcome("me", Path("a.jpg"), None, DONE, None)
