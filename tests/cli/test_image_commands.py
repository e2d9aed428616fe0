"""``ezlink image`` and ``ezlink flux``: what they send, save and print, and go on."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from ezlink_async.cli.job_options import read_fields
from ezlink_async.emulator import Emulator, faults, scripts
from ezlink_async.emulator.pictures import sketch
from ezlink_async.errors import ConfigurationError
from tests.support.command_line import SAMPLES, Ezlink, start, sums

WAN = ("--model", "wan2.5-i2i-preview")

HOPPER = SAMPLES / "hopper.jpg"


@attrs.frozen
class _Case:
    """A command with one job: its kind, its place in the emulator, and its price."""

    command: tuple[object, ...]
    kind: str
    place: str
    units: int
    failures_paid: int


CASES = {
    "image": _Case(("image", "a cat", *WAN), "image", "images", 100_000, 1),
    "flux": _Case(("flux", "a cat"), "flux", "flux", 15_000, 0),
}


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request: pytest.FixtureRequest) -> _Case:
    """Return each command in turn, which saves into a folder."""
    found = CASES[request.param]
    return attrs.evolve(found, command=(*found.command, "--output", "out"))


def _units(user: Emulator) -> list[int]:
    return [charge.units for charge in user.control.charges]


def _submits(user: Emulator) -> int:
    return sum(
        each.method == "POST" and each.path.startswith(("/v1/async/", "/flux/"))
        for each in user.control.requests
    )


def _files(folder: str = "out") -> list[str]:
    found = (path.name for path in Path(folder).iterdir())
    return sorted(name for name in found if name not in {".ezlink", "report.html"})


def _size(path: str) -> tuple[int, int]:
    picture = sketch.read_sketch(Path(path).read_bytes())
    return picture.width, picture.height


def test_job_is_charged_once_and_its_picture_saved(
    ezlink: Ezlink, user: Emulator, case: _Case
) -> None:
    said = ezlink(*case.command)
    assert (said.code, said.out) == (0, "out/a cat.png\n"), said.err
    assert _units(user) == [case.units]
    assert _size("out/a cat.png") == (1024, 1024)
    cost = case.units / 500_000
    assert f"1 job: 1 to send\nabout {cost:g} USD at default prices" in said.err
    assert Path("out/report.html").exists()


def test_same_command_in_another_process_pays_nothing(
    ezlink: Ezlink, user: Emulator, case: _Case
) -> None:
    """What was not finished is followed; what was finished is left alone."""
    user.control.script_tasks(scripts.slow(600))
    said = ezlink(*case.command, "--deadline", 0.2)
    assert said.code == 1
    assert "is not finished" in said.err
    user.control.advance(600)
    with start(*case.command) as command:
        again = command.end()
    assert (again.code, _submits(user)) == (0, 1), again.err
    assert "1 open from before" in again.err
    third = ezlink(*case.command, "--json")
    assert (third.code, third.summary) == (0, sums(skipped=1))
    assert (_submits(user), _units(user)) == (1, [case.units])


def test_failure_is_one_line_and_sent_again_only_on_demand(
    ezlink: Ezlink, user: Emulator, case: _Case
) -> None:
    user.control.script_tasks(scripts.fails("the machine is broken"))
    said = ezlink(*case.command)
    assert (said.code, said.out) == (1, "")
    assert "failed: a cat: TaskFailedError: " in said.err
    assert "the machine is broken" in said.err
    assert ezlink(*case.command).code == 1
    assert (_submits(user), len(_units(user))) == (1, case.failures_paid)
    assert ezlink(*case.command, "--retry-failed").code == 0
    assert _files() == ["a cat.png"]


def test_dry_run_names_the_result_and_the_price_and_sends_nothing(
    ezlink: Ezlink, user: Emulator, case: _Case
) -> None:
    said = ezlink(*case.command, "--dry-run")
    assert (said.code, said.out) == (0, "send a cat -> out/a cat\n"), said.err
    cost = case.units / 500_000
    assert f"1 job would be paid for\nabout {cost:g} USD" in said.err
    assert not _submits(user)
    assert not Path("out").exists()


def test_json_has_one_object_for_the_job(
    ezlink: Ezlink, user: Emulator, case: _Case
) -> None:
    row, _ = ezlink(*case.command, "--json").rows
    assert row == {
        "kind": case.kind,
        "label": "a cat",
        "output": "out/a cat.png",
        "outputs": ["out/a cat.png"],
        "task_id": user.control.tasks[-1].task_id,
        "status": "succeeded",
        "error": None,
        "maybe_charged": False,
        "text": "",
    }


def test_lost_answer_is_unknown_and_not_repeated(
    ezlink: Ezlink, user: Emulator, case: _Case
) -> None:
    user.control.script(case.place, faults.Drop(job=True))
    row, _ = ezlink(*case.command, "--json").rows
    assert (row["status"], row["maybe_charged"]) == ("unknown", True)
    assert ezlink(*case.command).code == 1
    assert _submits(user) == 1


def test_lost_image_cannot_be_found_and_a_lost_picture_of_flux_can(
    ezlink: Ezlink, user: Emulator, case: _Case
) -> None:
    """So each is told apart in what a person may do."""
    user.control.script(case.place, faults.Drop(job=True))
    said = ezlink(*case.command)
    is_found = case.kind == "flux"
    assert ("run the same command again" in said.err) is is_found
    assert ("no run finds a lost image job: " in said.err) is not is_found
    assert "as the last resort --resubmit-unknown" in said.err


def test_lost_answer_of_flux_is_found_by_its_row_in_a_later_run(
    ezlink: Ezlink, user: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run has no account token, the second one has."""
    user.control.script("flux", faults.Drop(job=True))
    assert ezlink("flux", "a cat", "--output", "out").code == 1
    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", user.account_token)
    monkeypatch.setenv("EZLINK_TIMEOUTS_RECONCILE", "0.2")
    said = ezlink("flux", "a cat", "--output", "out")
    assert (said.code, _files()) == (0, ["a cat.png"]), said.err
    assert (_submits(user), _units(user)) == (1, [15_000])


def test_submit_of_flux_that_never_came_is_sent_again_in_a_later_run(
    ezlink: Ezlink, user: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another job of the journal has a row, so a row of this one would be there."""
    assert ezlink("flux", "a dog", "--output", "out").code == 0
    user.control.script("flux", faults.Drop())
    assert ezlink("flux", "a cat", "--output", "out").code == 1
    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", user.account_token)
    monkeypatch.setenv("EZLINK_TIMEOUTS_RECONCILE", "0.2")
    said = ezlink("flux", "a cat", "--output", "out")
    assert (said.code, _files()) == (0, ["a cat.png", "a dog.png"]), said.err
    assert (_submits(user), _units(user)) == (3, [15_000] * 2)


def test_four_pictures_of_wan_are_one_job_and_four_files(
    ezlink: Ezlink, user: Emulator
) -> None:
    said = ezlink("image", "a cat", *WAN, "--count", 4, "--output", "out")
    assert (said.code, _submits(user), _units(user)) == (0, 1, [400_000])
    assert _files() == [f"a cat_{number}.png" for number in (1, 2, 3, 4)]


def test_pictures_of_flux_are_jobs_of_their_own(ezlink: Ezlink, user: Emulator) -> None:
    model = ("--model", "flux-pro-1.1")
    said = ezlink("image", "a cat", *model, "--count", 2, "--output", "out")
    assert (said.code, _units(user)) == (0, [20_000, 20_000]), said.err
    assert _files() == ["a cat-2.png", "a cat.png"]
    assert all("n" not in (call.body or {}) for call in user.control.forwarded)


def test_size_seed_pictures_and_fields_are_sent(ezlink: Ezlink, user: Emulator) -> None:
    command = ("flux", "a cat", "--size", "640x384", "--seed", 7, "--image", HOPPER)
    fields = ("safety_tolerance=2", "x=16:9", 'y={"a": [1]}')
    given = [word for field in fields for word in ("--set", field)]
    said = ezlink(*command, *given, "-o", "out")
    assert said.code == 0, said.err
    (call,) = user.control.forwarded
    assert call.body is not None
    assert call.body.pop("input_image")
    assert call.body == {
        "prompt": "a cat",
        "width": 640,
        "height": 384,
        "seed": 7,
        "safety_tolerance": 2,
        "x": "16:9",
        "y": {"a": [1]},
    }
    assert _size("out/a cat.png") == (640, 384)


def test_image_takes_pictures_and_fields_for_each_prompt(
    ezlink: Ezlink, user: Emulator
) -> None:
    fields = ("--set", 'parameters={"size": "320*200"}', "--image", HOPPER)
    assert ezlink("image", "a cat", "a dog", *WAN, *fields, "-o", "out").code == 0
    assert _files() == ["a cat.png", "a dog.png"]
    assert {_size(f"out/{name}") for name in _files()} == {(320, 200)}
    assert len(user.control.forwarded) == 2


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("image", "a cat"), "--model kling-v2"),
        (("image", "a cat", "--model", "dall-e-3"), "none of flux"),
        (("image", "a cat", *WAN, "--count", 11), ": --count is 1 to 10"),
        (("image", "a cat", *WAN, "--set", "n=2"), ": --set has no field 'n'"),
        (
            ("image", "a cat", *WAN, "--set", 'input={"prompt": "a"}'),
            ": --set input has no field 'prompt'",
        ),
        (("image", " ", *WAN), ": PROMPT is a text that says something"),
        (("flux", "a cat", "--set", "width=9"), ": --set has no field 'width'"),
        (("flux", "a cat", "--seed", -1), ": --seed is a whole number from 0"),
        (
            ("flux", "a cat", "--set", "safety_tolerance=x"),
            ": safety_tolerance is a whole number",
        ),
        (("image", "a cat", *WAN, "--image", "https://x/a.png"), "is an address"),
        (("flux", "a cat", "--size", "big"), "--size is WIDTHxHEIGHT"),
        (("flux", "a cat", "--model", "get_result"), "the model"),
        (("flux", "a cat", "--image", "https://x/a.png"), "is an address"),
        (("flux", "a cat", "--set", "x"), "--set takes KEY=JSON"),
        (("flux",), "name what to draw, or a file that lists it"),
        (("image", *WAN), "name what to draw, or a file that lists it"),
        (("flux", "a cat", "--manifest", "jobs.csv"), "give no other arguments"),
    ],
)
def test_wrong_command_is_refused_before_anything_is_sent(
    command: tuple[object, ...], says: str, ezlink: Ezlink, user: Emulator
) -> None:
    said = ezlink(*command, "--output", "out")
    assert said.code == 2
    assert says in said.err
    assert not _submits(user)


def test_manifest_mixes_both_kinds(ezlink: Ezlink, user: Emulator) -> None:
    rows = [
        {"kind": "image", "model": WAN[1], "prompt": "a cat", "n": 2},
        {"prompt": "a fox", "model": "flux-2-pro", "width": 320, "height": 200},
        {"prompt": "an owl", "model": "flux-2-pro", "extra": {"raw": True}},
    ]
    text = "\n".join(map(json.dumps, rows))
    Path("jobs.jsonl").write_text(text, encoding="utf-8")
    said = ezlink("flux", "--manifest", "jobs.jsonl", "--output", "out")
    assert said.code == 0, said.err
    assert _files() == ["a cat_1.png", "a cat_2.png", "a fox.png", "an owl.png"]
    assert sorted(_units(user)) == [15_000, 15_000, 200_000]
    assert _size("out/a fox.png") == (320, 200)


def test_table_lists_fields_of_flux(ezlink: Ezlink, user: Emulator) -> None:
    table = "model,prompt,width,height,seed\nflux-2-pro,a cat,320,200,7\n"
    Path("jobs.csv").write_text(table, encoding="utf-8")
    said = ezlink("flux", "--manifest", "jobs.csv", "--output", "out")
    assert said.code == 0, said.err
    (call,) = user.control.forwarded
    assert call.body == {"prompt": "a cat", "width": 320, "height": 200, "seed": 7}


def test_guideline_fee_is_a_failure_that_the_budget_counts(
    ezlink: Ezlink, user: Emulator
) -> None:
    refused = faults.Upstream(403, {"detail": "Content violates usage guidelines"})
    user.control.script("flux", refused)
    command = ("flux", "a cat", "a dog", "--output", "out", "--concurrency", 1)
    said = ezlink(*command, "--budget", 1)
    assert said.code == 1
    assert "failed: a cat: ContentRefusedError: " in said.err
    assert (_submits(user), _units(user)) == (1, [25_000])
    again = ezlink(*command)
    assert again.code == 1
    assert _files() == ["a dog.png"]
    assert _units(user) == [25_000, 15_000]


def test_task_of_a_family_is_shown_and_saved_by_its_id(
    ezlink: Ezlink, user: Emulator
) -> None:
    assert ezlink("flux", "a cat", "--output", "out").code == 0
    task_id = user.control.tasks[-1].task_id
    said = ezlink("task", f"flux:{task_id}", "--output", "again", "--json")
    assert said.code == 0, said.err
    assert said.rows[0]["status"] == "SUCCESS"
    assert len(_files("again")) == 1
    assert _units(user) == [15_000]


def test_flux_task_that_is_followed_may_be_an_async_image_which_is_said(
    ezlink: Ezlink, user: Emulator
) -> None:
    """One look is free; the third asks the provider, and is charged once more."""
    assert ezlink("flux", "a cat", "--output", "out").code == 0
    task_id = user.control.tasks[-1].task_id
    caution = "an id of 'ezlink image' is charged once more"
    assert caution not in ezlink("task", f"flux:{task_id}").err
    followed = ezlink("task", f"flux:{task_id}", "--output", "again")
    assert followed.code == 0
    assert followed.err.count(caution) == 1
    assert "ask for it as images:ID" in " ".join(followed.err.split())


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ([], {}),
        (
            ["a=1", "b=true", "c=null", "d=1.5"],
            {"a": 1, "b": True, "c": None, "d": 1.5},
        ),
        (["a=16:9", "b=", "c=x=y"], {"a": "16:9", "b": "", "c": "x=y"}),
        (['a="1"', 'b={"c": [1]}', "d=[]"], {"a": "1", "b": {"c": [1]}, "d": []}),
    ],
)
def test_fields_are_json_or_plain_texts(
    given: list[str], fields: dict[str, object]
) -> None:
    assert read_fields(given) == fields


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["a"], "KEY=JSON"),
        (["=1"], "KEY=JSON"),
        (["a=1", "a=2"], "names 'a' twice"),
        (['a={"b":'], "is no JSON"),
        (["a=[1"], "is no JSON"),
        (['a="b'], "is no JSON"),
    ],
)
def test_field_that_cannot_be_read_is_refused(given: list[str], says: str) -> None:
    """A broken object would be sent, and paid, as a text."""
    with pytest.raises(ConfigurationError, match=says):
        read_fields(given)
