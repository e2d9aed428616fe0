"""The orders of buttons, made of what the server said of a task at its end."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from ezlink_async.batch.follow_ups import follow_ups
from ezlink_async.batch.journal.jobs import JobKey, JobRecord, JobState, Step
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.preflight import BatchJob
from ezlink_async.buttons import Button
from ezlink_async.models import TaskRecord, TaskStatus, VideoRecord
from ezlink_async.services.midjourney import MIDJOURNEY
from ezlink_async.services.midjourney.creations import Imagine
from ezlink_async.services.midjourney.follow_ups import Action
from ezlink_async.services.video import VIDEO

UPSCALE = Button(custom_id="MJ::JOB::upsample::2::u", label="U2", task_id="17")
REROLL = Button(custom_id="MJ::JOB::reroll::0::u", emoji="🔄")
REGION = Button(custom_id="MJ::Inpaint::1::u", label="Vary (Region)")
TASK = TaskRecord(
    task_id="17",
    status=TaskStatus.SUCCESS,
    prompt="a fox --relax",
    image_url="https://a.example/17",
    buttons=(UPSCALE, REROLL, REGION),
)
KEY = JobKey("https://a.example", "imagine", '{"prompt":"a fox"}', "trip/fox")


def _job(*then: str, record: str | None = None) -> BatchJob:
    known = json.dumps(MIDJOURNEY.dump(TASK)) if record is None else record
    saved = JobRecord(
        id=1,
        key=KEY,
        label="a fox",
        family="midjourney",
        inputs=(),
        state=JobState.SAVED,
        record=known,
    )
    order = Order.of(Imagine("a fox"), then=then)
    return BatchJob(order, saved, Step.DONE, Path("out"))


def test_a_button_is_an_action_beside_its_job() -> None:
    """It has the mode of its parent, whose record says it."""
    (order,) = follow_ups(_job("u2"))
    assert isinstance(order.request, Action)
    assert order.request.button.custom_id == UPSCALE.custom_id
    assert order.request.button.task_id == TASK.task_id
    assert order.request.deadline == 3_900
    assert (order.kind, order.wanted_path) == ("action", "trip/fox+U2")
    assert (order.label, order.problem, order.inputs) == ("a fox: U2", None, ())
    identity = order.identity([], {"strip_metadata": True})
    assert identity == '{"button":"U2","parent":{"prompt":"a fox"}}'


def test_each_button_is_pressed_once_in_their_order() -> None:
    found = follow_ups(_job("🔄", "U2", "🔄"))
    assert [order.wanted_path for order in found] == ["trip/fox+🔄", "trip/fox+U2"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("U9", "there is no button 'U9'; it has 'U2', '🔄', 'Vary (Region)'"),
        ("Vary (Region)", "needs a prompt or a mask"),
        ("a/b", "there is no button"),
    ],
)
def test_a_button_that_cannot_be_pressed_is_a_problem(name: str, says: str) -> None:
    (order,) = follow_ups(_job(name))
    assert says in str(order.problem)
    assert order.request is None
    assert "/" not in order.wanted_path.removeprefix("trip/")


@pytest.mark.parametrize("record", ["{}", '{"task_id": "17", "status": 3}'])
def test_without_a_record_no_button_is_known(record: str) -> None:
    (order,) = follow_ups(_job("U2", record=record))
    assert "is not known any more" in str(order.problem)


def test_tasks_of_other_families_have_no_buttons() -> None:
    job = _job("U2")
    foreign = attrs.evolve(job.record, family="unheard of")
    (order,) = follow_ups(attrs.evolve(job, record=foreign))
    assert "is not known any more" in str(order.problem)


def test_task_of_a_video_is_said_to_have_no_buttons() -> None:
    clip = VIDEO.dump(VideoRecord(task_id="17", status=TaskStatus.SUCCESS))
    job = _job("U2", record=json.dumps(clip))
    video = attrs.evolve(job.record, family=VIDEO.name)
    (order,) = follow_ups(attrs.evolve(job, record=video))
    assert order.problem == "'U2' cannot be pressed: its task has no buttons"
