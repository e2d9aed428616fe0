"""Queries for videos over a socket: states, refunds, settlements, links and files."""

from __future__ import annotations

import base64

import pytest

from ezlink_async.emulator import (
    Clock,
    Emulator,
    EmulatorSettings,
    faults,
    scripts,
    serving,
)
from tests.emulator.recorded_video import SUBMITS
from tests.support.boxes import assert_whole_video, request_in
from tests.support.emulator_videos import (
    DOUBAO,
    KLING,
    OMNI,
    OWN,
    RESULT,
    VEO,
    VideoApi,
    addresses,
    settlements,
)

_GROK: dict[str, object] = {"model": "grok-imagine-video", "prompt": "a cat"}
_MINIMAX = "/v1/query/video_generation?task_id="
_GOOGLE = "/v1beta/interactions/"
_TWO = {**VEO, "parameters": {"sampleCount": 2}}


@pytest.fixture
def api(emu: Emulator) -> VideoApi:
    return VideoApi(emu)


# Lives


async def test_video_takes_its_time() -> None:
    """It passes each stage as the clock advances, and has no address before its end."""
    settings = EmulatorSettings(
        clock=Clock(ticking=False), start_seconds=1, submit_seconds=2, engine_seconds=15
    )
    async with serving(settings) as emu:
        api = VideoApi(emu)
        task_id = await api.submit({"model": "T2V-01", "prompt": "x"})
        seen = [await api.result(task_id)]
        for seconds in (1, 2, 15):
            emu.control.advance(seconds)
            seen.append(await api.result(task_id))

    words = [shown["task_status"] for shown in seen]
    assert words == ["unknown", "processing", "processing", "succeed"]
    assert ["video_results" in shown for shown in seen] == [False] * 3 + [True]


async def test_scripted_lives_are_those_of_other_tasks(
    emu: Emulator, api: VideoApi
) -> None:
    """Scripts are taken in one order by tasks of all kinds."""
    emu.control.script_tasks(
        scripts.sequence({"status": "IN_PROGRESS"}, swap=True),
        scripts.fails("no"),
        scripts.unmentioned(),
        scripts.succeeds_without_image(),
    )
    ids = [await api.submit(KLING) for _ in range(4)]
    seen = [[(await api.result(each))["task_status"] for _ in range(2)] for each in ids]

    assert seen == [
        ["processing", "succeed"],
        ["failed", "failed"],
        ["", ""],  # the provider does not know it
        ["succeed", "succeed"],
    ]
    assert "video_results" not in await api.result(ids[3])
    assert emu.control.tasks[1].status == "FAILURE"
    emu.control.assert_all_played()


async def test_one_submit_can_be_given_its_life(emu: Emulator, api: VideoApi) -> None:
    emu.control.script("video", faults.Life(scripts.fails("blocked")))

    shown = await api.result(await api.submit(KLING))

    assert (shown["task_status"], shown["message"]) == ("failed", "blocked")


@pytest.mark.parametrize(
    ("body", "failed", "cancelled"),
    [
        (KLING, ("failed", "no"), ("failed", "stop")),
        (DOUBAO, ("failed", "no"), ("unknown", "")),
        ({"model": "T2V-01"}, ("failed", "no"), ("failed", "stop")),
        (VEO, ("failed", "no"), ("failed", "stop")),
        (
            _GROK,
            ("failed", "Video generation failed: no"),
            ("failed", "Video generation failed: stop"),
        ),
        (OMNI, ("failed", "no"), ("failed", "stop")),
    ],
)
async def test_each_provider_fails_in_its_own_words(
    body: dict[str, object],
    failed: tuple[str, str],
    cancelled: tuple[str, str],
    emu: Emulator,
    api: VideoApi,
) -> None:
    emu.control.script_tasks(scripts.fails("no"), scripts.cancelled("stop"))
    seen = [await api.result(await api.submit(body)) for _ in range(2)]

    words = [(shown["task_status"], shown["message"]) for shown in seen]
    assert words == [failed, cancelled]


async def test_wan_names_its_failure(emu: Emulator, api: VideoApi) -> None:
    """A cancelled one of Wan's stays at work for ever."""
    emu.control.script_tasks(scripts.fails("no"), scripts.cancelled())
    body = SUBMITS["wan"]
    seen = [await api.result(await api.submit(body)) for _ in range(2)]

    assert [shown["task_status"] for shown in seen] == ["failed", "processing"]
    assert str(seen[0]["message"]).startswith("视频生成失败: [InternalError] no")


async def test_success_without_a_video_is_told_by_each_provider(
    emu: Emulator, api: VideoApi
) -> None:
    """Omni and Veo call it a failure, Grok and some others stay as they are."""
    emu.control.standing("video", faults.Life(scripts.succeeds_without_image()))
    shown = [await api.result(await api.submit(body)) for body in SUBMITS.values()]

    assert {
        name: each["task_status"] for name, each in zip(SUBMITS, shown, strict=True)
    } == {
        "kling": "succeed",
        "doubao": "succeeded",
        "minimax": "succeed",
        "veo": "failed",
        "grok": "processing",
        "wan": "succeed",
        "omni": "failed",
    }
    assert not any("video_results" in each for each in shown)


# Refunds


async def test_failure_gives_the_price_back_once(emu: Emulator, api: VideoApi) -> None:
    """To the account and not to the key, whose quota stays used."""
    emu.control.set_key(emu.api_key, quota=100_000)
    before = emu.control.balance
    emu.control.script_tasks(scripts.fails("no"))
    task_id = await api.submit(KLING)

    for _ in range(3):
        await api.result(task_id)

    assert [refund.units for refund in emu.control.refunds] == [70_000]
    assert emu.control.balance == before
    bill = (await api.raw.get("/v1/dashboard/billing/usage")).fields()
    assert bill["total_usage"] == pytest.approx(14.0)


async def test_each_change_to_failed_gives_the_price_back(
    emu: Emulator, api: VideoApi
) -> None:
    task_id = await api.submit(KLING)
    words = ["failed", "failed", "processing", "failed"]
    for word in words:
        data = {"task_id": task_id, "task_status": word}
        emu.control.script("video_result", faults.Upstream(body={"data": data}))
        await api.result(task_id)

    assert [refund.units for refund in emu.control.refunds] == [70_000] * 2


async def test_owner_is_refunded_by_the_query_of_another(
    emu: Emulator, api: VideoApi
) -> None:
    other = emu.control.add_account(balance=0)
    before = emu.control.balance
    emu.control.script_tasks(scripts.fails("no"))
    task_id = await api.submit(KLING)

    assert (await api.result_as(other, task_id))["task_status"] == "failed"

    assert emu.control.balance == before
    assert emu.control.refunds[0].account == emu.control.charges[0].account


async def test_failed_query_that_reads_as_a_failure_is_refunded_and_may_succeed(
    emu: Emulator, api: VideoApi
) -> None:
    """Grok's 429 pays back a video that comes all the same."""
    task_id = await api.submit(_GROK)
    limited = faults.Upstream(429, {"code": "rate", "error": "too many"})
    emu.control.script("video_result", limited)
    seen = [(await api.result(task_id))["task_status"] for _ in range(2)]

    assert seen == ["failed", "succeed"]
    assert [refund.units for refund in emu.control.refunds] == [150_000]


# Settlements


async def test_each_query_of_a_finished_doubao_video_settles(
    emu: Emulator, api: VideoApi
) -> None:
    """The caller pays, also for another's video; each answer has a fresh address."""
    other = emu.control.add_account(balance=1_000_000)
    task_id = await api.submit(DOUBAO)

    mine = [await api.result(task_id) for _ in range(2)]
    await api.result_as(other, task_id)

    assert settlements(emu) == [73_771] * 3
    assert len({charge.account for charge in emu.control.charges[-2:]}) == 2
    assert len({*map(str, (addresses(shown) for shown in mine))}) == 2
    file = await api.file(addresses(mine[0])[0])
    assert_whole_video(file.body, 2)


async def test_doubao_video_without_usage_is_not_settled(
    emu: Emulator, api: VideoApi
) -> None:
    task_id = await api.submit(DOUBAO)
    body = {"id": task_id, "status": "succeeded"}
    emu.control.script("video_result", faults.Upstream(body=body))

    shown = await api.result(task_id)

    assert "video_results" not in shown
    assert settlements(emu) == []


async def test_few_tokens_are_a_credit(emu: Emulator, api: VideoApi) -> None:
    """A model that the answer does not name has the dearest price."""
    task_id = await api.submit(DOUBAO)
    body = {"id": task_id, "status": "succeeded", "usage": {"total_tokens": 1000}}
    before = emu.control.balance
    emu.control.script("video_result", faults.Upstream(body=body))
    await api.result(task_id)

    assert settlements(emu) == [3_500 - 98_000]
    assert emu.control.balance == before + 94_500


async def test_doubao_query_whose_answer_is_lost_settles_all_the_same(
    emu: Emulator, api: VideoApi
) -> None:
    task_id = await api.submit(DOUBAO)
    emu.control.script("video_result", faults.Drop(job=True))

    with pytest.raises(EOFError):
        await api.result(task_id)

    assert settlements(emu) == [73_771]


async def test_omni_is_charged_at_its_first_success(
    emu: Emulator, api: VideoApi
) -> None:
    """Once, to the submit's key, at any key's query; a failure gives nothing back."""
    other = emu.control.add_account(balance=0)
    emu.control.script_tasks(scripts.stuck(), scripts.fails())
    failed_too = [await api.submit(OMNI) for _ in range(2)]
    task_id = await api.submit(OMNI)
    assert emu.control.charged == 0

    await api.result_as(other, task_id)
    again = await api.result(task_id)
    for each in failed_too:
        await api.result(each)

    (charge,) = emu.control.charges
    assert (charge.units, charge.key) == (512_749, emu.api_key)
    assert again["message"] == "Video retrieved from cache"
    assert emu.control.refunds == []


async def test_omni_without_usage_costs_nothing(emu: Emulator, api: VideoApi) -> None:
    task_id = await api.submit(OMNI)
    outputs = [{"type": "text"}, {"type": "video", "uri": "https://cdn.example/o.mp4"}]
    body = {"status": "completed", "outputs": outputs}
    emu.control.script("video_result", faults.Upstream(body=body))

    shown = await api.result(task_id)

    assert shown["video_result"] == "https://cdn.example/o.mp4"
    assert emu.control.charged == 0


# Links and files


async def test_two_veo_videos_are_two_files(api: VideoApi) -> None:
    """The first answer lists them in a text, the record names the first."""
    task_id = await api.submit(_TWO)
    shown, again = [await api.result(task_id) for _ in range(2)]

    found = addresses(shown)
    assert shown["video_result"] == f'["{found[0]}","{found[1]}"]'
    assert (again["video_result"], addresses(again)) == (found[0], found)
    files = [(await api.file(each)).body for each in found]
    assert [request_in(each)["number"] for each in files] == [1, 2]
    for each in files:
        assert_whole_video(each, 2)


@pytest.mark.parametrize(("asked", "made"), [(0, 1), (4, 4), (9, 4), ("2", 1)])
async def test_veo_makes_at_most_four(asked: object, made: int, api: VideoApi) -> None:
    body = {**VEO, "parameters": {"sampleCount": asked}}

    assert len(addresses(await api.result(await api.submit(body)))) == made


async def test_veo_video_is_inline_unless_links_are_asked_for(api: VideoApi) -> None:
    """The first success decides for all later queries."""
    task_id = await api.submit(VEO)
    shown, later = await api.result(task_id, links=False), await api.result(task_id)

    (inline,) = addresses(shown)
    head, _, text = inline.partition(",")
    assert head == "data:video/mp4;base64"
    assert_whole_video(base64.b64decode(text), 2)
    assert addresses(later) == [inline]


async def test_veo_video_is_inline_when_the_storage_is_down(
    emu: Emulator, api: VideoApi
) -> None:
    emu.control.script("video_result", faults.Trouble("storage_down"))

    (address,) = addresses(await api.result(await api.submit(VEO)))

    assert address.startswith("data:video/mp4;base64,")


async def test_inline_video_that_is_none_stays_as_it_is(
    emu: Emulator, api: VideoApi
) -> None:
    videos = [{"bytesBase64Encoded": "?"}, {"gcsUri": "gs://b/a.mp4"}, {}, 7]
    body = {"done": True, "response": {"videos": videos}}
    emu.control.script("video_result", faults.Upstream(body=body))

    shown = await api.result(await api.submit(VEO))

    assert addresses(shown) == [
        "data:video/mp4;base64,?",
        "https://storage.googleapis.com/b/a.mp4",
    ]


async def test_file_that_there_is_not_is_404(api: VideoApi) -> None:
    base = api.emulator.base_url
    task_id = await api.submit(KLING)

    assert (await api.file(f"{base}/__emu/video/nope.mp4")).status == 404
    assert (await api.file(f"{base}/__emu/video/{task_id}_2.mp4")).status == 404


async def test_file_can_be_disturbed(emu: Emulator, api: VideoApi) -> None:
    (address,) = addresses(await api.result(await api.submit(KLING)))
    emu.control.script("video_file", faults.Answer(403, "gone"))

    assert (await api.file(address)).status == 403
    assert (await api.file(address)).status == 200


# Failed queries


async def test_query_for_an_unknown_id_is_a_500(api: VideoApi) -> None:
    """Each id, also none: a record without an id is found by it."""
    texts = [(await api.raw.get(f"{RESULT}{end}")).body for end in ("?taskid=x", "")]

    assert texts == [
        b'{"error":"failed to get video: no record found for task_id: x"}',
        b'{"error":"failed to get video: no record found for task_id: "}',
    ]


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        (
            KLING,
            (
                'do request: Get "<host>/v1/videos/text2video/{id}": EOF',
                "unexpected end of JSON input",
            ),
        ),
        (
            {"model": "T2V-01"},
            (
                f'failed to send request: Get "<host>{_MINIMAX}{{id}}": EOF',
                "failed to parse response JSON: unexpected end of JSON input",
            ),
        ),
        (
            _GROK,
            ('Get "<host>/v1/videos/{id}": EOF', "unexpected end of JSON input"),
        ),
        (
            OMNI,
            (
                f'request failed: do request: Get "<host>{_GOOGLE}{{id}}": EOF',
                "failed to parse response: unexpected end of JSON input",
            ),
        ),
    ],
)
async def test_failed_queries_are_told_in_each_providers_words(
    body: dict[str, object], texts: tuple[str, str], emu: Emulator, api: VideoApi
) -> None:
    task_id = await api.submit(body)
    broken = [faults.Upstream(broken="reset"), faults.Upstream(body="")]
    emu.control.script("video_result", *broken, faults.Upstream(broken="half"))
    seen = [(await api.result(task_id))["error"] for _ in range(3)]

    assert seen == [*(text.format(id=task_id) for text in texts), "unexpected EOF"]


async def test_task_of_a_deleted_channel_cannot_be_asked_for(
    emu: Emulator, api: VideoApi
) -> None:
    task_id = await api.submit(DOUBAO)
    gone = faults.Trouble("channel_deleted")
    emu.control.script("video_result", gone)
    emu.control.script("video_keyless", gone)

    shown, own = await api.result(task_id), await api.keyless(task_id)

    assert shown == {"error": "failed to get channel: record not found"}
    assert (own.status, own.fields()["code"]) == (500, "get_channel_failed")


# The path without a key


async def test_keyless_query_never_settles(emu: Emulator, api: VideoApi) -> None:
    """It keeps the first address until a general query has been made."""
    task_id = await api.submit(DOUBAO)
    seen = [(await api.keyless(task_id)).fields() for _ in range(2)]
    assert settlements(emu) == []
    await api.result(task_id)
    seen += [(await api.keyless(task_id)).fields() for _ in range(2)]

    links = [content["video_url"] for each in seen if (content := _content(each))]
    assert links[0] == links[1] != links[2] == links[3]
    assert ["usage" in each for each in seen] == [True, False, True, False]
    assert settlements(emu) == [73_771]


def _content(shown: dict[str, object]) -> dict[str, object]:
    content = shown["content"]
    assert isinstance(content, dict)
    return content


async def test_cancelled_doubao_video_is_refunded_to_the_keyless_path_alone(
    emu: Emulator, api: VideoApi
) -> None:
    """And only if no general query has seen it before."""
    emu.control.script_tasks(scripts.cancelled(), scripts.cancelled())
    general, keyless = [await api.submit(DOUBAO) for _ in range(2)]
    assert (await api.result(general))["task_status"] == "unknown"

    for task_id in (general, keyless):
        assert (await api.keyless(task_id)).fields()["status"] == "cancelled"
        await api.result(task_id)

    assert [refund.task_id for refund in emu.control.refunds] == [keyless]


async def test_running_doubao_video_changes_nothing(
    emu: Emulator, api: VideoApi
) -> None:
    emu.control.script_tasks(scripts.stuck())
    task_id = await api.submit(DOUBAO)

    assert (await api.keyless(task_id)).fields()["status"] == "running"
    assert (await api.result(task_id))["task_status"] == "processing"


async def test_keyless_success_without_an_address_is_not_kept(
    emu: Emulator, api: VideoApi
) -> None:
    task_id = await api.submit(DOUBAO)
    bare = faults.Upstream(body={"id": task_id, "status": "succeeded"})
    emu.control.script("video_keyless", bare)
    seen = [(await api.keyless(task_id)).fields() for _ in range(2)]

    assert ["content" in each for each in seen] == [False, True]


async def test_own_path_takes_submits(emu: Emulator, api: VideoApi) -> None:
    """The price of 98,000 is its bar; a refusal of the provider is passed on."""
    refused = faults.Upstream(400, {"error": {"code": "x", "message": "y"}})
    emu.control.script("video", refused, faults.Upstream(200, "<html>"))
    seen = [await api.send(DOUBAO, OWN) for _ in range(3)]
    emu.control.balance = 97_999
    poor = await api.send(DOUBAO, OWN)
    emu.control.lose_channel()
    without = await api.send(DOUBAO, OWN)

    assert [answer.status for answer in seen] == [400, 200, 200]
    assert seen[1].body == b"<html>"
    assert (poor.status, poor.fields()["code"]) == (402, "insufficient_quota")
    assert without.status == 503
    assert [charge.units for charge in emu.control.charges] == [98_000]
    task_id = str(seen[2].fields()["id"])
    assert (await api.result(task_id))["task_status"] == "succeeded"


@pytest.mark.parametrize(
    ("broken", "status", "codes"),
    [
        ("reset", 502, ["upstream_request_failed"] * 2),
        ("half", 500, ["read_upstream_response_failed", "read_response_failed"]),
    ],
)
async def test_own_path_tells_broken_calls(
    broken: str, status: int, codes: list[str], emu: Emulator, api: VideoApi
) -> None:
    task_id = await api.submit(DOUBAO)
    emu.control.script("video", faults.Upstream(broken=broken))
    emu.control.script("video_keyless", faults.Upstream(broken=broken))
    seen = [await api.send(DOUBAO, OWN), await api.keyless(task_id)]

    assert [answer.status for answer in seen] == [status] * 2
    assert [answer.fields()["code"] for answer in seen] == codes


async def test_own_path_passes_on_what_is_no_json(emu: Emulator, api: VideoApi) -> None:
    task_id = await api.submit(DOUBAO)
    emu.control.script("video_keyless", faults.Upstream(502, "<html>"))

    answer = await api.keyless(task_id)

    assert (answer.status, answer.body) == (502, b"<html>")
    assert (await api.keyless(task_id)).fields()["status"] == "succeeded"


async def test_queries_ask_for_a_key(api: VideoApi) -> None:
    """All but those of Doubao's own path."""
    task_id = await api.submit(DOUBAO)

    assert "error" in await api.result_as("sk-wrong", task_id)
    assert (await api.keyless(task_id)).status == 200
