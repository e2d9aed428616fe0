"""What a kind of task tells, so that it can be followed."""

from __future__ import annotations

import pytest

from ezlink_async._core.messages import HttpResponse
from ezlink_async.errors import ProtocolError
from ezlink_async.services import midjourney
from ezlink_async.services.base import TaskFamily
from ezlink_async.services.midjourney import FAMILIES, MIDJOURNEY
from tests.conftest import samples


def test_a_saved_name_leads_back_to_its_family() -> None:
    """Names in saved handles are for ever: they find the same kind again."""
    assert FAMILIES == {"midjourney": MIDJOURNEY}
    assert [family.name for family in FAMILIES.values()] == list(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_family_asks_without_changing_anything(family: TaskFamily) -> None:
    """Following a task costs nothing, so each of its questions is repeatable."""
    asked = [
        family.fetch_request("7"),
        family.list_request(["7", "8"]),
        family.result_request("7"),
    ]
    assert all(request.repeatable for request in asked)
    assert family.list_limit == midjourney.LIST_LIMIT == 100


def test_swaps_are_asked_for_and_read_by_the_protocol() -> None:
    """A family is a name for wire functions, and adds nothing to them."""
    assert MIDJOURNEY.fetch_request("7") == midjourney.fetch_request("7")
    assert MIDJOURNEY.list_request(["7"]) == midjourney.list_request(["7"])
    assert MIDJOURNEY.result_request("7") == midjourney.image_request("7")
    one = samples()["fetch-success"].response
    task_id = samples()["fetch-success"].path.split("/")[-2]
    assert MIDJOURNEY.read(one, task_id) == midjourney.read_task(one, task_id)
    many = samples()["list-mixed"].response
    assert MIDJOURNEY.read_list(many) == midjourney.read_tasks(many)


def test_a_family_raises_what_an_answer_means() -> None:
    """An answer nobody can read is an error of ours from both readers."""
    with pytest.raises(ProtocolError):
        MIDJOURNEY.read(HttpResponse(200), "7")
    with pytest.raises(ProtocolError):
        MIDJOURNEY.read_list(HttpResponse(200))
