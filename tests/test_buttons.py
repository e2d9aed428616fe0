"""Buttons: what they do is read from the custom id, as the server reads it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ezlink_async.buttons import Button
from ezlink_async.errors import ConfigurationError
from ezlink_async.models import TaskRecord
from ezlink_async.services.midjourney import MIDJOURNEY
from tests.support.samples import family_samples

UUID = "0b6fc7f4-2b3f-4f6c-9d0a-7d1c2f3a4b5c"


def _server(custom_id: str) -> str:
    """Read a custom id with the steps of the server; IndexError where it panics."""
    parts = custom_id.split("::")
    verb = parts[2] if parts[1] == "JOB" else parts[1]
    if not custom_id or not verb:
        return "refused"
    if "upsample" in verb:
        return "UPSCALE" if int(parts[3]) else "refused"
    if verb == "variation":
        return "VARIATION" if int(parts[3]) else "refused"
    exact = {
        "low_variation": "LOW_VARIATION",
        "high_variation": "HIGH_VARIATION",
        "Outpaint": "ZOOM",
        "CustomZoom": "CUSTOM_ZOOM",
        "Inpaint": "INPAINT",
    }
    words = {"variation": "none", "pan": "PAN", "reroll": "REROLL"}
    found = (action for word, action in words.items() if word in verb)
    return exact.get(verb) or next(found, "none")


PIECES = st.lists(
    st.sampled_from(
        [
            *("MJ", "JOB", "Job", "upsample", "upsample_v6_2x_subtle", "variation"),
            *("high_variation", "low_variation", "medium_variation", "pan_left"),
            *("expand", "reroll", "Outpaint", "CustomZoom", "Inpaint", "BOOKMARK"),
            *("", "0", "1", "4", "50", "-1", "x", "²", "1_0", ":", UUID, "SOLO"),
        ]
    ),
    max_size=6,
).map("::".join)


@given(PIECES | st.text(max_size=30))
@example("")
@example("zzz")
@example("MJ::JOB")
@example("MJ::JOB::upsample")
@example("MJ::JOB::variation")
@example("MJ::upsample::1")
@example("::::")
def test_no_custom_id_that_passes_breaks_the_server(custom_id: str) -> None:
    """The server panics on a part that is missing; a button leads where it says."""
    button = Button(custom_id=custom_id)
    try:
        button.check()
    except ConfigurationError:
        return
    assert _server(custom_id) == (button.leads_to or "none")


@pytest.mark.parametrize(
    "custom_id",
    [
        *("", "zzz", "MJ::JOB", "MJ::JOB::", "MJ::", "MJ::JOB::upsample"),
        *("MJ::JOB::upsample::x::u", "MJ::JOB::upsample::0::u"),
        *("MJ::JOB::variation::-1::u", "MJ::upsample::2", None),
    ],
)
def test_custom_id_that_breaks_the_server_is_refused(custom_id: str | None) -> None:
    with pytest.raises(ConfigurationError):
        Button(custom_id=custom_id).check()


@pytest.mark.parametrize(
    ("custom_id", "verb", "index", "leads_to"),
    [
        (f"MJ::JOB::upsample::2::{UUID}", "upsample", 2, "UPSCALE"),
        (
            f"MJ::JOB::upsample_v6_2x_subtle::1::{UUID}::SOLO",
            "upsample_v6_2x_subtle",
            1,
            "UPSCALE",
        ),
        (f"MJ::JOB::variation::3::{UUID}", "variation", 3, "VARIATION"),
        (
            f"MJ::JOB::high_variation::1::{UUID}::SOLO",
            "high_variation",
            1,
            "HIGH_VARIATION",
        ),
        (f"MJ::JOB::medium_variation::1::{UUID}", "medium_variation", 1, None),
        (f"MJ::JOB::reroll::0::{UUID}::SOLO", "reroll", 0, "REROLL"),
        (f"MJ::JOB::pan_left::1::{UUID}::SOLO", "pan_left", 1, "PAN"),
        (f"MJ::Outpaint::50::1::{UUID}::SOLO", "Outpaint", 50, "ZOOM"),
        (f"MJ::CustomZoom::{UUID}", "CustomZoom", None, "CUSTOM_ZOOM"),
        (f"MJ::Inpaint::1::{UUID}::SOLO", "Inpaint", 1, "INPAINT"),
        ("MJ::Job::PicReader::1", "Job", None, None),
        (f"MJ::JOB::animate_high::1::{UUID}", "animate_high", 1, None),
        (f"MJ::BOOKMARK::{UUID}", "BOOKMARK", None, None),
        ("zzz", "", None, None),
    ],
)
def test_custom_id_says_what_a_button_does(
    custom_id: str, verb: str, index: int | None, leads_to: str | None
) -> None:
    button = Button(custom_id=custom_id)
    assert (button.verb, button.index, button.leads_to) == (verb, index, leads_to)
    assert button.needs_input is (verb in {"Inpaint", "CustomZoom"})


def _record(*buttons: Button) -> TaskRecord:
    return TaskRecord(task_id="7", buttons=buttons)


GRID = _record(
    *(Button(f"MJ::JOB::upsample::{n}::{UUID}", label=f"U{n}") for n in (3, 2, 1, 4)),
    Button(f"MJ::JOB::reroll::0::{UUID}::SOLO", emoji="🔄"),
    *(Button(f"MJ::JOB::variation::{n}::{UUID}", label=f"V{n}") for n in (1, 2, 3, 4)),
)

SINGLE = _record(
    Button(f"MJ::JOB::upsample_v6_2x_subtle::1::{UUID}", "⬆️", "Upscale (Subtle)"),
    Button(f"MJ::JOB::upsample_v6_2x_creative::1::{UUID}", "⬆️", "Upscale (Creative)"),
    Button(f"MJ::JOB::low_variation::1::{UUID}::SOLO", "🪄", "Vary (Subtle)"),
    Button(f"MJ::JOB::high_variation::1::{UUID}::SOLO", "🪄", "Vary (Strong)"),
    Button(f"MJ::Inpaint::1::{UUID}::SOLO", "🖌️", "Vary (Region)"),
    Button(f"MJ::Outpaint::75::1::{UUID}::SOLO", "🔍", "Zoom Out 1.5x"),
    Button(f"MJ::Outpaint::50::1::{UUID}::SOLO", "🔍", "Zoom Out 2x"),
    Button(f"MJ::CustomZoom::{UUID}", "🔍", "Custom Zoom"),
    Button(f"MJ::JOB::pan_left::1::{UUID}::SOLO", "⬅️"),
    Button(f"MJ::JOB::pan_up::1::{UUID}::SOLO", "⬆️"),
)


@pytest.mark.parametrize(
    ("find", "custom_id"),
    [
        (lambda: GRID.upscale(2), "MJ::JOB::upsample::2::"),
        (lambda: GRID.variation(3), "MJ::JOB::variation::3::"),
        (GRID.reroll, "MJ::JOB::reroll::0::"),
        (lambda: SINGLE.upscale(how="creative"), "MJ::JOB::upsample_v6_2x_creative"),
        (lambda: SINGLE.variation(how="strong"), "MJ::JOB::high_variation"),
        (lambda: SINGLE.variation(how="subtle"), "MJ::JOB::low_variation"),
        (lambda: SINGLE.zoom(2), "MJ::Outpaint::50::"),
        (lambda: SINGLE.zoom(1.5), "MJ::Outpaint::75::"),
        (lambda: SINGLE.pan("left"), "MJ::JOB::pan_left"),
        (SINGLE.region, "MJ::Inpaint"),
        (SINGLE.custom_zoom, "MJ::CustomZoom"),
        (lambda: GRID.button("u2"), "MJ::JOB::upsample::2::"),
        (lambda: GRID.button("🔄"), "MJ::JOB::reroll"),
        (lambda: SINGLE.button(" vary(region) "), "MJ::Inpaint"),
        (lambda: SINGLE.button("⬅"), "MJ::JOB::pan_left"),
        (
            lambda: GRID.button(f"MJ::JOB::variation::4::{UUID}"),
            "MJ::JOB::variation::4",
        ),
    ],
)
def test_button_is_found_by_what_it_does(
    find: Callable[[], Button], custom_id: str
) -> None:
    """Never by its place: U3 is the first of this record."""
    assert str(find().custom_id).startswith(custom_id)


@pytest.mark.parametrize(
    ("find", "says"),
    [
        (lambda: GRID.zoom(2), "no button zoom 2; it has 'U3', 'U2'"),
        (lambda: GRID.upscale(5), "no button upsample 5"),
        (lambda: GRID.button("U9"), "no button 'U9'"),
        (lambda: SINGLE.button(""), "no button ''"),
        (lambda: SINGLE.button("🪄"), "2 buttons are called '🪄'"),
        (lambda: SINGLE.pan("right"), "no button pan right"),
        (GRID.region, "no button region"),
        (GRID.custom_zoom, "no button custom zoom"),
        (SINGLE.reroll, "no button reroll"),
        (GRID.upscale, "give the number of a picture, or how="),
        (lambda: SINGLE.variation(1, how="strong"), "number of a picture, or how="),
        (lambda: SINGLE.zoom(3), "zoom is 2 or 1.5; custom_zoom"),
        (lambda: SINGLE.zoom([2]), "zoom is 2 or 1.5; custom_zoom"),  # type: ignore[arg-type]
        (lambda: GRID.button(7), "a button is called by a text, not 7"),  # type: ignore[arg-type]
        (lambda: GRID.variation(how=[]), "there is no button variation"),  # type: ignore[arg-type]
        (lambda: _record().reroll(), "it has none"),
        (lambda: _record(Button("MJ::x"), Button()).reroll(), "'MJ::x', '\\?'"),
    ],
)
def test_button_that_is_not_there_is_an_error_that_lists_the_others(
    find: Callable[[], Button], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        find()


def test_all_buttons_of_a_recorded_grid_come_back_byte_for_byte() -> None:
    sample = family_samples()["fetch-imagine-success"]
    rows = json.loads(sample.response.body)["buttons"]
    record = MIDJOURNEY.read(sample.response, sample.path.split("/")[-2])
    assert [b.custom_id for b in record.buttons] == [row["customId"] for row in rows]
    assert {b.task_id for b in record.buttons} == {record.task_id}
    assert [record.upscale(n).index for n in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert [record.variation(n).index for n in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert record.reroll().emoji == "🔄"
