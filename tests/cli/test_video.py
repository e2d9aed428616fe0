"""``ezlink video``: what it sends, saves and says, and how it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.command_line import SAMPLES, Ezlink, start, sums

CAT = ("video", "a cat", "--model", "kling-v1", "--output", "out")

PRICE = 70_000


def _units(user: Emulator) -> list[int]:
    return [charge.units for charge in user.control.charges]


def _submits(user: Emulator) -> int:
    return sum(seen.method == "POST" for seen in user.control.requests)


def _sent(user: Emulator) -> dict[str, object]:
    """Return the body that the provider was sent last."""
    return dict(user.control.forwarded[-1].body or {})


def test_video_of_a_prompt_is_saved_under_it(ezlink: Ezlink, user: Emulator) -> None:
    said = ezlink(*CAT)
    assert (said.code, said.out) == (0, "out/a cat.mp4\n"), said.err
    assert b"ftyp" in Path("out/a cat.mp4").read_bytes()[:12]
    assert "1 job: 1 to send\nonly the server knows their price; " in said.err
    assert _units(user) == [PRICE]
    assert ezlink(*CAT, "--json").summary == sums(skipped=1)
    assert _units(user) == [PRICE]


def test_options_become_the_words_of_the_provider(
    ezlink: Ezlink, user: Emulator
) -> None:
    options = (
        *("--seconds", 5, "--aspect", "16:9", "--image", SAMPLES / "hopper.jpg"),
        *("--last-image", "https://a.example/b.png"),
        *(
            "--set",
            "mode=pro",
            "--set",
            "cfg_scale=0.5",
            "--set",
            "negative_prompt=a=b",
        ),
    )
    assert ezlink(*CAT, *options).code == 0
    sent = _sent(user)
    assert str(sent.pop("image")).startswith("<")  # too long to be kept
    assert sent == {
        "model_name": "kling-v1",
        "prompt": "a cat",
        "duration": "5",
        "aspect_ratio": "16:9",
        "image_tail": "https://a.example/b.png",
        "mode": "pro",
        "cfg_scale": 0.5,
        "negative_prompt": "a=b",
    }


def test_picture_alone_names_its_video(ezlink: Ezlink, user: Emulator) -> None:
    picture = SAMPLES / "hopper.jpg"
    said = ezlink("video", "--model", "kling-v1", "--image", picture, "--output", "out")
    assert (said.code, said.out) == (0, "out/hopper.mp4\n"), said.err
    assert "prompt" not in _sent(user)


def test_several_prompts_are_several_videos(ezlink: Ezlink, user: Emulator) -> None:
    said = ezlink(*CAT, "a dog")
    assert said.code == 0
    assert sorted(said.out.splitlines()) == ["out/a cat.mp4", "out/a dog.mp4"]
    assert _units(user) == [PRICE] * 2


WRONG = {
    "no model": (("a cat",), "name the model, as in --model kling-v1"),
    "nothing to show": (("--model", "kling-v1"), "say what to show, or give --image"),
    "a picture as text": (
        ("--model", "kling-v1", "--image", "http://a.example/b.png"),
        "is an address, and pictures are files here",
    ),
    "no name to set": (("a cat", "--model", "kling-v1", "--set", "=5"), "KEY=JSON"),
    "no value to set": (("a cat", "--model", "kling-v1", "--set", "x"), "KEY=JSON"),
    "one name set twice": (
        ("a cat", "--model", "kling-v1", "--set", "mode=pro", "--set", "mode=std"),
        "--set names 'mode' twice",
    ),
    "broken JSON to set": (
        ("a cat", "--model", "wan2.5", "--set", 'parameters={"seed": 7'),
        "the value of --set parameters is no JSON",
    ),
    "a field twice": (
        ("a cat", "--model", "kling-v1", "--set", "prompt=b"),
        "PROMPT is given twice",
    ),
    "Doubao's length": (
        ("a cat", "--model", "doubao-1", "--seconds", 5),
        "'a cat --dur 5 --ratio 16:9'",
    ),
    "a manifest and a prompt": (("a cat", "--manifest", "a.csv"), "give no other"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_command_says_what_to_change_and_sends_nothing(
    what: str, ezlink: Ezlink, user: Emulator
) -> None:
    arguments, says = WRONG[what]
    said = ezlink("video", *arguments, "--output", "out")
    assert (said.code, says in said.err) == (2, True), said.err
    assert _submits(user) == 0


def test_dry_run_names_the_result_and_sends_nothing(
    ezlink: Ezlink, user: Emulator
) -> None:
    said = ezlink(*CAT, "--dry-run")
    assert said.code == 0
    assert said.out == "send a cat -> out/a cat\n"
    assert "1 job would be paid for\nonly the server knows their price" in said.err
    assert (_submits(user), Path("out").exists()) == (0, False)


def test_same_command_in_another_process_pays_nothing(
    ezlink: Ezlink, user: Emulator
) -> None:
    """The task of the first is followed, and its video saved."""
    user.control.script_tasks(scripts.slow(6_000))
    said = ezlink(*CAT, "--deadline", 0.5)
    assert said.code == 1
    assert "is not finished" in said.err
    user.control.advance(6_000)
    with start(*CAT) as command:
        again = command.end()
    assert again.code == 0, again.err
    assert "1 open from before" in again.err
    assert Path("out/a cat.mp4").exists()
    assert _units(user) == [PRICE]


def test_doubao_is_settled_once_over_two_processes(
    ezlink: Ezlink, user: Emulator
) -> None:
    """The record is on disk before the video is fetched."""
    command = (*CAT[:3], "doubao-seedance-1-0-lite", *CAT[4:])
    user.control.standing("video_file", faults.Answer(404))
    assert ezlink(*command).code == 1
    assert len(_units(user)) == 2
    user.control.standing("video_file", None)
    with start(*command) as again:
        said = again.end()
    assert said.code == 0, said.err
    assert Path("out/a cat.mp4").exists()
    assert len(_units(user)) == 2


def test_failure_is_one_line_and_sent_again_only_on_demand(
    ezlink: Ezlink, user: Emulator
) -> None:
    user.control.script_tasks(scripts.fails("the machine is broken"))
    said = ezlink(*CAT)
    assert (said.code, said.out) == (1, "")
    assert "the machine is broken" in said.err
    assert ezlink(*CAT).code == 1
    assert _units(user) == [PRICE]
    assert ezlink(*CAT, "--retry-failed").code == 0
    assert _units(user) == [PRICE] * 2


def test_lost_answer_is_unknown_and_not_repeated(
    ezlink: Ezlink, user: Emulator
) -> None:
    user.control.script("video", faults.Drop(job=True))
    (row, _) = ezlink(*CAT, "--json").rows
    assert (row["kind"], row["status"], row["maybe_charged"]) == (
        "video",
        "unknown",
        True,
    )
    said = ezlink(*CAT)
    assert said.code == 1
    assert "to find out: no run finds a lost video job: compare the dash" in said.err
    assert "EZLINK_ACCOUNT_TOKEN" not in said.err  # which would not help
    assert _units(user) == [PRICE]


def test_manifest_of_mixed_kinds_is_done(ezlink: Ezlink, user: Emulator) -> None:
    rows = [
        {"kind": "video", "model": "kling-v1", "prompt": "a cat", "seconds": 5},
        {"kind": "video", "model": "wan2.5", "prompt": "a dog", "output": "b/dog"},
        {"kind": "imagine", "prompt": "a fox", "mode": "relax"},
    ]
    text = "\n".join(map(json.dumps, rows))
    Path("jobs.jsonl").write_text(text, encoding="utf-8")
    command = ("run", "jobs.jsonl", "--output", "out")
    for options in ((), ("--budget", 1)):
        planned = ezlink(*command, "--dry-run", *options)
        assert "only the server knows their price; " in planned.err
        assert "USD at default prices" not in planned.err
    said = ezlink(*command)
    assert said.code == 0, said.err
    assert "3 to send\nonly the server knows their price; " in said.err
    assert sorted(said.out.splitlines()) == [
        "out/a cat.mp4",
        "out/a fox.png",
        "out/b/dog.mp4",
    ]
    assert sorted(_units(user)) == [6_000, 50_000, 70_000]


def test_manifest_in_place_of_a_prompt_needs_no_kind(
    ezlink: Ezlink, user: Emulator
) -> None:
    Path("clips.csv").write_text(
        "prompt,model,set.mode,set.cfg_scale\na cat,kling-v1,pro,0.5\n",
        encoding="utf-8",
    )
    said = ezlink("video", "--manifest", "clips.csv", "--output", "out")
    assert (said.code, said.out) == (0, "out/a cat.mp4\n"), said.err
    assert (_sent(user)["mode"], _sent(user)["cfg_scale"]) == ("pro", 0.5)


def test_look_at_a_bare_id_says_what_it_may_cost(
    ezlink: Ezlink, user: Emulator
) -> None:
    ezlink(*CAT[:3], "doubao-seedance-1-0-lite", *CAT[4:])
    task_id = user.control.tasks[-1].task_id
    before = len(_units(user))
    free = ezlink("task", f"video-doubao:{task_id}")
    assert (free.code, free.err) == (0, "")
    assert len(_units(user)) == before
    said = ezlink("task", f"video:{task_id}", f"video:{task_id}")
    assert said.code == 0
    assert said.err.count("settled once more by this query") == 1
    assert said.err.count("task video-doubao:ID', without --output, is free") == 1
    assert len(_units(user)) == before + 1
    saved = ezlink("task", f"video-doubao:{task_id}", "--output", "clips")
    assert saved.code == 0, saved.err
    assert "settled when its end is seen, once more if it was before" in saved.err
    assert len(_units(user)) == before + 2
    assert Path(f"clips/{task_id}.mp4").exists()


def test_rehearsal_makes_a_video_without_a_key(ezlink: Ezlink, stranger: None) -> None:
    del stranger
    said = ezlink(*CAT, "--local")
    assert (said.code, said.out) == (0, "out/a cat.mp4\n"), said.err


VEO_BAR = (
    "the account has 5.00 USD: below 6.00 USD the server refuses every video of Veo"
)


def test_run_warns_before_it_sends_of_a_balance_below_the_bar(
    ezlink: Ezlink, user: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on, since an operator may have lowered the bar; the server decides."""
    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", user.account_token)
    user.control.balance = 2_500_000
    veo = ("video", "a fox", "--model", "veo-3.1", "--output", "out")
    dry = ezlink(*veo, "--dry-run")
    assert VEO_BAR in dry.err
    assert _submits(user) == 0

    said = ezlink(*veo)
    assert said.code == 2
    assert said.err.index(VEO_BAR) < said.err.index("Veo needs 6.00 USD")
    assert _submits(user) == 1
    assert _units(user) == []

    said = ezlink(*CAT)  # Kling takes what Veo refuses
    assert (said.code, "refuses every" in said.err) == (0, False), said.err


def test_balance_that_is_not_known_is_below_no_bar(
    ezlink: Ezlink, user: Emulator
) -> None:
    user.control.balance = 2_500_000
    said = ezlink("video", "a fox", "--model", "veo-3.1", "--output", "out")
    assert said.code == 2
    assert "the server refuses every" not in said.err
