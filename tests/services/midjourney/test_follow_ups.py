"""Action, modal, change: what is checked, what is sent, and how it is answered."""

from __future__ import annotations

import json
from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core.messages import HttpResponse
from ezlink_async.buttons import Button
from ezlink_async.errors import (
    ConfigurationError,
    ModalNeededError,
    RejectedError,
)
from ezlink_async.models import TaskProperties, TaskRecord, TaskStatus
from ezlink_async.services.base import Accepted
from ezlink_async.services.midjourney import (
    MIDJOURNEY,
    MIDJOURNEY_MODAL,
    Action,
    Change,
    Modal,
    Mode,
)
from ezlink_async.services.midjourney.parents import ParentTask
from tests.support.jobs import job_of, sent_by
from tests.support.pictures import png
from tests.support.samples import family_samples

U1 = "MJ::JOB::upsample::1::x"
REROLL = "MJ::JOB::reroll::0::x::SOLO"
INPAINT = "MJ::Inpaint::1::x::SOLO"

GRID = TaskRecord(
    task_id="7",
    status=TaskStatus.SUCCESS,
    prompt="a cat --relax",
    buttons=(Button(U1, label="U1", task_id="7"),),
)

DIALOG = TaskRecord(
    task_id="8",
    status=TaskStatus.MODAL,
    prompt="a cat --turbo",
    properties=TaskProperties(final_prompt="a cat --v 6"),
)


@attrs.frozen
class _Handle:
    task_id: str
    record: TaskRecord | None = None


def _recorded(name: str) -> tuple[str, dict[str, object]]:
    sample = family_samples()[name]
    return sample.path, json.loads(sample.sent)


def test_action_equals_the_recorded_one() -> None:
    path, body = _recorded("action-button-round-trip")
    request = Action(str(body["customId"]), str(body["taskId"]))
    assert sent_by(request) == (path, body)


def test_change_equals_the_recorded_one() -> None:
    path, body = _recorded("change-upscale")
    assert sent_by(Change(str(body["taskId"]), "upscale", 2)) == (path, body)


def test_modal_equals_the_recorded_one() -> None:
    path, body = _recorded("modal-inpaint")
    mask = png()
    request = Modal(str(body["taskId"]), prompt="a hat", mask=mask)
    sent = sent_by(request)
    assert sent[0] == path
    assert str(sent[1]["maskBase64"]).startswith("data:image/png;base64,")
    assert {**sent[1], "maskBase64": ""} == {**body, "maskBase64": ""}
    assert sent_by(Modal("8", prompt="a hat", state="s"))[1] == {
        "taskId": "8",
        "prompt": "a hat",
        "state": "s",
    }


def test_button_of_a_record_knows_its_task() -> None:
    assert sent_by(Action(GRID.upscale(1)))[1] == {"customId": U1, "taskId": "7"}
    assert sent_by(Action(GRID.upscale(1), "7"))[1]["taskId"] == "7"


@pytest.mark.parametrize(
    "task",
    [
        "8",
        DIALOG,
        _Handle("8"),
        _Handle("8", DIALOG),
        ModalNeededError("waits", task_id="8", record=DIALOG),
        ParentTask("8"),
    ],
)
def test_task_is_given_in_any_form(task: object) -> None:
    request = Modal(task, prompt="a hat")  # type: ignore[arg-type]  # of many types
    assert request.task.task_id == "8"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Action(U1),
        lambda: Action(U1, ""),
        lambda: Action(U1, " "),
        lambda: Action(U1, 7),  # type: ignore[arg-type]  # the mistake itself
        lambda: Action("", "7"),
        lambda: Action("zzz", "7"),
        lambda: Action("MJ::JOB::upsample", "7"),
        lambda: Action(7, "7"),  # type: ignore[arg-type]  # the mistake itself
        lambda: Action(GRID.upscale(1), "8"),
        lambda: Action(Button(), "7"),
        lambda: Modal("", prompt="a hat"),
        lambda: Modal(_Handle(""), prompt="a hat"),
        lambda: Modal("8"),
        lambda: Modal("8", prompt=""),
        lambda: Modal("8", prompt=" "),
        lambda: Modal(_Handle("8")),
        lambda: Change("", "upscale"),
        lambda: Change("7", "zoom"),  # type: ignore[arg-type]  # the mistake itself
        lambda: Change("7", None),  # type: ignore[arg-type]
        lambda: Change("7", "upscale", 0),
        lambda: Change("7", "upscale", 5),
        lambda: Change("7", "upscale", index=True),
    ],
)
def test_wrong_job_is_refused_when_it_is_made(make: Callable[[], object]) -> None:
    """The server checks next to nothing, and would charge most of them."""
    with pytest.raises(ConfigurationError):
        make()


@given(
    st.lists(
        st.sampled_from(["MJ", "JOB", "upsample", "variation", "Inpaint", "1", "", "x"])
        | st.text(max_size=4),
        max_size=6,
    )
)
def test_no_action_that_is_sent_lacks_a_part_the_server_reads(
    parts: list[str],
) -> None:
    """The server answers an empty 500 then, which leaves the outcome unknown."""
    try:
        body = sent_by(Action("::".join(parts), "7"))[1]
    except ConfigurationError:
        return
    sent = str(body["customId"]).split("::")
    verb = sent[2] if sent[1] == "JOB" else sent[1]
    assert verb
    if "upsample" in verb or verb == "variation":
        assert int(sent[3]) > 0


def test_modal_without_a_prompt_sends_the_one_that_the_dialog_suggests() -> None:
    assert sent_by(Modal(DIALOG))[1]["prompt"] == "a cat --v 6"
    parent = attrs.evolve(DIALOG, properties=None)
    assert sent_by(Modal(parent))[1]["prompt"] == "a cat --turbo"


def test_modal_is_charged_by_the_mode_of_the_parent() -> None:
    """Flags in its own prompt change nothing."""
    assert Modal(DIALOG, prompt="a hat --relax").price == 40_000
    assert Modal(GRID, prompt="a hat --turbo").price == 6_000
    assert Modal("8", prompt="a hat --turbo").price == 18_000


@pytest.mark.parametrize(
    ("custom_id", "price"),
    [
        (U1, 9_000),
        (REROLL, 18_000),
        ("MJ::Outpaint::50::1::x", 9_000),
        ("MJ::JOB::pan_left::1::x", 18_000),
        ("MJ::JOB::high_variation::1::x", 18_000),
        (INPAINT, 0),
        ("MJ::CustomZoom::x", 0),
        ("MJ::BOOKMARK::x", 0),
    ],
)
def test_action_is_priced_by_its_button(custom_id: str, price: int) -> None:
    """Those that open a dialog are free, and so is one that the server refuses."""
    request = Action(custom_id, "7")
    assert request.price == price
    assert job_of(request).is_free is (custom_id in {INPAINT, "MJ::CustomZoom::x"})


def test_change_is_priced_as_the_action() -> None:
    assert Change("7", "upscale").price == 9_000
    assert Change("7", "reroll", 1).price == Change("7", "variation", 4).price == 18_000


def test_follow_up_of_a_relaxed_parent_has_a_later_deadline() -> None:
    assert Action(U1, GRID).deadline == Change(GRID, "reroll").deadline == 3_900.0
    assert Modal(GRID, prompt="x").deadline == 3_900.0
    assert Action(U1, "7").deadline is None
    plain = attrs.evolve(GRID, prompt="a cat")
    assert Action(U1, plain).charged_mode is Mode.FAST
    assert Action(U1, attrs.evolve(GRID, prompt="")).charged_mode is None


def test_client_sends_one_modal_of_a_task_unless_another_is_meant() -> None:
    assert Modal("8", prompt="x").once == Modal(DIALOG, prompt="y").once
    assert Modal("8", prompt="x").once != Modal("9", prompt="x").once
    assert Modal("8", prompt="x", again=True).again
    assert not Modal("8", prompt="x").again
    with pytest.raises(ConfigurationError, match="true or false, not 'no'"):
        Modal("8", prompt="x", again="no")  # type: ignore[arg-type]
    assert Action(U1, "7").once is None


def test_buttons_and_modals_wait_for_room_together() -> None:
    lanes = {job_of(each).lane for each in (Action(U1, "7"), Modal("8", prompt="x"))}
    assert lanes == {"midjourney"}


def test_identity_is_that_of_the_button_and_its_task() -> None:
    named = Action(GRID.upscale(1), state="s")
    assert named.identity(()) == Action(U1, "7").identity(())
    assert named.identity(()) == json.dumps(
        {"button": U1, "task": "7"}, separators=(",", ":")
    )
    assert Modal(DIALOG, mask=png(), again=True).identity(["ab"]) == (
        '{"mask":"ab","prompt":"a cat --v 6","task":"8"}'
    )
    assert Change(GRID, "reroll").identity(()) == (
        '{"index":1,"task":"7","what":"reroll"}'
    )


def test_label_names_the_job() -> None:
    assert Action(GRID.upscale(1)).label == "U1 of 7"
    assert Modal("8", prompt="a hat").label == "8: a hat"
    assert Change("7", "reroll").label == "reroll 1 of 7"


# -- answers ---------------------------------------------------------------


def _answer(body: object, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {"x-request-id": "r"}, json.dumps(body).encode())


def _body(code: int = 1, description: str = "ok", **properties: object) -> object:
    return {
        "code": code,
        "description": description,
        "result": "9",
        "properties": properties,
    }


@pytest.mark.parametrize(
    ("custom_id", "body"),
    [
        (INPAINT, _body(21)),
        ("MJ::CustomZoom::x", _body(21, finalPrompt="a cat")),
        (REROLL, _body(1, "Waiting for window confirm")),
        (REROLL, _body(1, remix=True, finalPrompt="a cat")),
    ],
)
def test_dialog_is_known_from_the_acceptance(custom_id: str, body: object) -> None:
    """So a handle ends at once, and not after the server's next beat."""
    accepted = job_of(Action(custom_id, "7", state="s")).read(_answer(body))
    record = accepted.record
    assert isinstance(record, TaskRecord)
    assert (record.task_id, record.needs_input, record.state) == ("9", True, "s")
    ending = MIDJOURNEY.judge(record, None)
    assert ending is not None
    assert isinstance(ending.error, ModalNeededError)


@pytest.mark.parametrize(
    ("custom_id", "body"),
    [
        (INPAINT, _body(1)),
        (U1, _body(21)),
        (U1, _body(21, status="SUCCESS", imageUrl="https://h/x.png")),
        (U1, _body(1, remix="true")),
        (U1, {"code": 1, "description": "ok", "result": "9"}),
    ],
)
def test_other_acceptance_says_nothing_of_the_task(
    custom_id: str, body: object
) -> None:
    """An earlier result is fetched: the acceptance has none of its buttons."""
    accepted = job_of(Action(custom_id, "7")).read(_answer(body))
    assert accepted == Accepted("9", accepted.code, "ok", has_previews=True)


def test_acceptance_of_a_modal_opens_no_dialog() -> None:
    """Its properties say ``remix`` all the same, as the recorded one shows."""
    answer = family_samples()["modal-beats-submit"].response
    assert job_of(Modal("8", prompt="x")).read(answer).record is None


def _refusal(words: str) -> RejectedError:
    return RejectedError(words, status=400, code=4, description=words)


def test_button_of_a_finished_task_is_pressed_again_while_the_server_is_behind() -> (
    None
):
    """The row of a task that a modal made is up to two beats late."""
    behind = _refusal("task_status_not_success")
    for request in (Action(GRID.upscale(1)), Action(U1, GRID), Change(GRID, "reroll")):
        job = job_of(request)
        assert [job.pause_after(behind, n) for n in (1, 2, 3, 4)] == [10, 10, 10, None]
        assert job.pause_after(_refusal("task_not_found"), 1) is None


def test_action_on_a_task_that_may_not_be_finished_is_refused_at_once() -> None:
    behind = _refusal("task_status_not_success")
    assert job_of(Action(U1, "7")).pause_after(behind, 1) is None
    assert job_of(Action(U1, DIALOG)).pause_after(behind, 1) is None


def test_lost_modal_is_found_by_one_row_more_of_its_task() -> None:
    rows = job_of(Modal("1795898255031987", prompt="x")).row_count
    assert rows is not None
    assert rows.task_id == "1795898255031987"
    described = rows.request()
    assert described.path == "/mj/task/list-by-condition"
    assert described.body == (b'{"ids": ["1795898255031987"]}',)
    looks = ("before", "running", "found", "beat")
    answers = [family_samples()[f"modal-lost-list-{look}"].response for look in looks]
    assert [rows.count(answer) for answer in answers] == [0, 0, 1, 1]


def test_modal_becomes_a_task_of_a_family_of_its_own() -> None:
    assert Modal("8", prompt="x").family is MIDJOURNEY_MODAL
    assert job_of(Modal("8", prompt="x")).family is MIDJOURNEY_MODAL
    assert job_of(Action(U1, "7")).family is MIDJOURNEY
