"""The rules of a submit: custom ids, prices, modes, paths at the upstream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async.emulator.relay.midjourney import calls
from ezlink_async.emulator.relay.midjourney.answers import RefusedCallError


@pytest.mark.parametrize(
    ("custom_id", "action", "index", "price"),
    [
        ("MJ::JOB::upsample::2::u", "UPSCALE", 2, 9_000),
        ("MJ::JOB::upsample_v6_2x_subtle::1::u::SOLO", "UPSCALE", 1, 9_000),
        ("MJ::JOB::upsample::9::u", "UPSCALE", 9, 9_000),
        ("MJ::JOB::upsample::+3::u", "UPSCALE", 3, 9_000),
        ("MJ::JOB::variation::4::u", "VARIATION", 4, 18_000),
        ("MJ::JOB::high_variation::1::u::SOLO", "HIGH_VARIATION", 1, 18_000),
        ("MJ::JOB::low_variation::1::u::SOLO", "LOW_VARIATION", 1, 18_000),
        ("MJ::JOB::reroll::0::u::SOLO", "REROLL", 1, 18_000),
        ("MJ::JOB::pan_left::1::u::SOLO", "PAN", 1, 18_000),
        ("MJ::JOB::expand::1::u", "PAN", 1, 18_000),
        ("MJ::Outpaint::50::1::u::SOLO", "ZOOM", 1, 9_000),
        ("MJ::CustomZoom::u", "CUSTOM_ZOOM", 1, 18_000),
        ("MJ::Inpaint::1::u::SOLO", "INPAINT", 1, 18_000),
    ],
)
def test_custom_id_leads_to_an_action_with_a_price(
    custom_id: str, action: str, index: int, price: int
) -> None:
    call = calls.read_call("action", {"customId": custom_id})

    assert (call.action, call.index, call.price("turbo")) == (action, index, price)
    assert call.is_served


@pytest.mark.parametrize(
    ("custom_id", "text"),
    [
        ("", "custom_id_is_required"),
        ("MJ::", "unknown_action"),
        ("MJ::JOB::", "unknown_action"),
        ("MJ::JOB::animate_high::1::u", "unknown_action:MJ::JOB::animate_high::1::u"),
        ("MJ::BOOKMARK::u", "unknown_action:MJ::BOOKMARK::u"),
        ("MJ::Job::PicReader::1", "unknown_action:MJ::Job::PicReader::1"),
        ("MJ::JOB::upsample::x::u", "index_parse_failed"),
        ("MJ::JOB::variation::::u", "index_parse_failed"),
        ("MJ::JOB::upsample::1_0::u", "index_parse_failed"),
    ],
)
def test_custom_id_without_an_action_is_refused(custom_id: str, text: str) -> None:
    with pytest.raises(RefusedCallError) as caught:
        calls.read_call("action", {"customId": custom_id})

    assert str(caught.value) == text


@pytest.mark.parametrize(
    "custom_id", ["zzz", "MJ::JOB", "MJ::JOB::upsample", "MJ::JOB::variation"]
)
def test_custom_id_with_too_few_parts_is_a_panic(custom_id: str) -> None:
    with pytest.raises(calls.PanicError):
        calls.read_call("action", {"customId": custom_id})


_PARTS = st.sampled_from(["MJ", "JOB", "upsample", "variation", "pan", "1", "x", ""])


@given(st.lists(_PARTS).map("::".join) | st.text())
def test_any_custom_id_is_a_call_a_refusal_or_a_panic(custom_id: str) -> None:
    try:
        call = calls.read_call("action", {"customId": custom_id})
    except (RefusedCallError, calls.PanicError):
        return
    assert call.model.startswith("mj_")


@pytest.mark.parametrize(
    ("name", "fields", "model", "served"),
    [
        ("action", {"customId": "MJ::JOB::medium_variation::1::u"}, "mj_", False),
        ("simple-change", {"content": "1 U2"}, "mj_", False),
        ("change", {"action": "dance"}, "mj_dance", False),
        ("change", {"action": "upscale"}, "mj_upscale", True),
        ("change", {"action": "IMAGINE"}, "mj_imagine", True),
        ("modal", {}, "mj_modal", True),
        ("modal", {"taskId": "1"}, "mj_modal", True),
        ("blend", {}, "mj_blend", True),
    ],
)
def test_model_follows_from_the_call(
    name: str, fields: dict[str, object], model: str, served: object
) -> None:
    call = calls.read_call(name, fields)

    assert (call.model, call.is_served) == (model, served)


@pytest.mark.parametrize(
    ("name", "mode", "price"),
    [
        ("imagine", "fast", 18_000),
        ("imagine", "turbo", 40_000),
        ("imagine", "relax", 6_000),
        ("shorten", "relax", 6_000),
        ("blend", "turbo", 18_000),
        ("describe", "relax", 9_000),
    ],
)
def test_mode_changes_the_price_of_prompts_only(
    name: str, mode: str, price: int
) -> None:
    assert calls.read_call(name, {}).price(mode) == price


def test_modal_costs_by_mode_with_a_task_and_the_fast_price_without() -> None:
    with_task = calls.read_call("modal", {"taskId": "1"})

    assert with_task.price("turbo") == 40_000
    assert calls.read_call("modal", {}).price("turbo") == 18_000


@pytest.mark.parametrize(
    ("prefix", "prompt", "mode", "row", "path"),
    [
        ("", "a cat", "fast", "a cat", "/mj-fast/mj"),
        ("", "a cat --turbo", "turbo", "a cat --turbo", "/mj-turbo/mj"),
        ("", "--relax a --turbo", "turbo", "--relax a --turbo", "/mj-turbo/mj"),
        ("", "a --turbo b --fast", "fast", "a --turbo b --fast", "/mj-fast/mj"),
        ("", "a --turbo, b", "fast", "a --turbo, b", "/mj-fast/mj"),
        ("", "a --TURBO", "fast", "a --TURBO", "/mj-fast/mj"),
        ("mj-turbo", "a cat", "turbo", "a cat --turbo", "/mj-turbo/mj"),
        ("mj-relax", "a --turbo, red", "relax", "a , red --relax", "/mj-relax/mj"),
        ("mj-relax", "a --TURBO", "relax", "a --TURBO --relax", "/mj-relax/mj"),
        ("mj-ultra", "a --turbo", "turbo", "a --turbo", "/mj-ultra/mj-turbo/mj"),
    ],
)
def test_mode_comes_from_the_prefix_then_from_separate_flags(
    prefix: str, prompt: str, mode: str, row: str, path: str
) -> None:
    """The prompt itself is forwarded unchanged; only the row's has the flag."""
    assert calls.read_mode(prefix, prompt) == mode
    assert calls.row_prompt(prefix, prompt) == row
    whole = f"{path}/submit/imagine"
    assert calls.forwarded_path(prefix, mode, "imagine", 1) == whole
    assert calls.forwarded_path(prefix, mode, "imagine", 32) == "/mj/submit/imagine"


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("/mj/submit/imagine", ""),
        ("/mj-turbo/mj/submit/imagine", "mj-turbo"),
        ("/mj/mj/submit/imagine", "mj"),
    ],
)
def test_prefix_stands_before_mj(path: str, prefix: str) -> None:
    assert calls.prefix_of(path) == prefix
