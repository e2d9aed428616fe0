"""The table of calls, and the checks of fields before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import pytest

from ezlink_async.errors import ConfigurationError
from ezlink_async.services.stability import ENDPOINTS, StabilityRequest, endpoint_of
from tests.support.pictures import png

PICTURE = png()

#: What each call needs, and no more; and what is sent of it.
LEAST: Mapping[str, Mapping[str, object]] = {
    "image-to-video": {"image": PICTURE},
    "creative": {"image": PICTURE, "prompt": "a fox"},
    "conservative": {"image": PICTURE, "prompt": "a fox"},
    "erase": {"image": PICTURE},
    "inpaint": {"image": PICTURE, "prompt": "a fox"},
    "outpaint": {"image": PICTURE, "left": 8},
    "search-and-replace": {
        "image": PICTURE,
        "prompt": "a fox",
        "search_prompt": "a dog",
    },
    "remove-background": {"image": PICTURE},
    "ultra": {"prompt": "a fox"},
    "core": {"prompt": "a fox"},
    "sd3": {"prompt": "a fox"},
    "sketch": {"image": PICTURE, "prompt": "a fox"},
    "structure": {"image": PICTURE, "prompt": "a fox"},
    "style": {"image": PICTURE, "prompt": "a fox"},
}


def _sent(name: str, **fields: object) -> dict[str, str]:
    request = StabilityRequest.of(endpoint_of(name), {**LEAST[name], **fields})
    return dict(request.fields)


def _refused(name: str, **fields: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        _sent(name, **fields)
    assert caught.value.retry_safe
    return str(caught.value)


def test_each_call_of_the_documentation_is_in_the_table() -> None:
    assert set(LEAST) == set(ENDPOINTS)
    paths = {each.path for each in ENDPOINTS.values()}
    assert len(paths) == len(ENDPOINTS)
    tasks = {each.name for each in ENDPOINTS.values() if each.result}
    assert tasks == {"image-to-video", "creative"}


@pytest.mark.parametrize("name", LEAST)
def test_each_call_takes_what_it_needs_and_nothing_less(name: str) -> None:
    _sent(name)
    for left_out in LEAST[name]:
        least = {key: each for key, each in LEAST[name].items() if key != left_out}
        with pytest.raises(ConfigurationError, match=rf"'{name}' needs .*{left_out}"):
            StabilityRequest.of(endpoint_of(name), least)


@pytest.mark.parametrize("name", LEAST)
def test_each_call_refuses_a_field_of_another_one(name: str) -> None:
    assert f"'{name}' takes no 'zoom'; it takes " in _refused(name, zoom=1)


@pytest.mark.parametrize(
    ("name", "field", "value", "sent"),
    [
        ("core", "seed", 0, "0"),
        ("core", "seed", 4_294_967_294, "4294967294"),
        ("core", "style_preset", "pixel-art", "pixel-art"),
        ("ultra", "aspect_ratio", "21:9", "21:9"),
        ("ultra", "negative_prompt", "a dog", "a dog"),
        ("sd3", "model", "sd3-medium", "sd3-medium"),
        ("sd3", "output_format", "jpeg", "jpeg"),
        ("image-to-video", "cfg_scale", 1.8, "1.8"),
        ("image-to-video", "cfg_scale", 10, "10"),
        ("image-to-video", "motion_bucket_id", 255, "255"),
        ("creative", "creativity", 0.35, "0.35"),
        ("conservative", "creativity", 0.5, "0.5"),
        ("erase", "grow_mask", 20, "20"),
        ("inpaint", "grow_mask", 100, "100"),
        ("outpaint", "down", 2000, "2000"),
        ("sketch", "control_strength", 1, "1"),
        ("style", "fidelity", 0.0, "0.0"),
        ("remove-background", "output_format", "webp", "webp"),
    ],
)
def test_value_within_its_bounds_is_sent(
    name: str, field: str, value: object, sent: str
) -> None:
    assert _sent(name, **{field: value})[field] == sent


@pytest.mark.parametrize(
    ("name", "field", "value", "says"),
    [
        ("core", "seed", -1, "a whole number from 0 to 4294967294"),
        ("core", "seed", 4_294_967_295, "a whole number from 0 to 4294967294"),
        ("core", "seed", 1.5, "a whole number"),
        ("core", "seed", True, "a whole number"),
        ("core", "seed", "7", "a whole number"),
        ("core", "style_preset", "baroque", "'anime'"),
        ("core", "style_preset", 7, "'anime'"),
        ("core", "prompt", " \n", "a text that says something"),
        ("core", "prompt", "a\0fox", "a text that says something"),
        ("core", "prompt", 7, "a text that says something"),
        ("core", "prompt", "a" * 10_001, "at most 10,000 characters"),
        ("ultra", "aspect_ratio", "3:1", "'21:9'"),
        ("sd3", "output_format", "webp", "one of 'jpeg', 'png', not 'webp'"),
        ("image-to-video", "cfg_scale", 10.1, "a number from 0 to 10"),
        ("image-to-video", "cfg_scale", float("nan"), "a number from 0 to 10"),
        ("image-to-video", "cfg_scale", float("inf"), "a number from 0 to 10"),
        ("image-to-video", "motion_bucket_id", 0, "from 1 to 255"),
        ("creative", "creativity", 0.4, "from 0 to 0.35"),
        ("conservative", "creativity", 0.1, "from 0.2 to 0.5"),
        ("erase", "grow_mask", 21, "from 0 to 20"),
        ("outpaint", "left", 2001, "from 0 to 2000"),
        ("remove-background", "output_format", "jpeg", "'png', 'webp'"),
    ],
)
def test_value_out_of_its_bounds_is_refused(
    name: str, field: str, value: object, says: str
) -> None:
    message = _refused(name, **{field: value})
    assert message.startswith(field)
    assert says in message


def test_outpaint_needs_a_side_above_zero() -> None:
    assert "at least one of left" in _refused("outpaint", left=0, up=0)
    assert _sent("outpaint", left=0, up=1)["up"] == "1"


def test_sd3_says_whether_it_begins_with_a_picture() -> None:
    assert _sent("sd3")["mode"] == "text-to-image"
    begun = _sent("sd3", image=PICTURE, strength=0.5)
    assert (begun["mode"], begun["strength"]) == ("image-to-image", "0.5")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"image": PICTURE}, "image and strength together"),
        ({"strength": 0.5}, "image and strength together"),
        (
            {"image": PICTURE, "strength": 0.5, "aspect_ratio": "1:1"},
            "leave out aspect_ratio",
        ),
    ],
)
def test_sd3_refuses_half_of_a_picture(fields: dict[str, object], says: str) -> None:
    assert says in _refused("sd3", **fields)


@pytest.mark.parametrize("name", ["zoom", "", None, 7, ["erase"]])
def test_unknown_call_is_refused(name: object) -> None:
    with pytest.raises(ConfigurationError, match="one of 'image-to-video'"):
        endpoint_of(name)
    with pytest.raises(ConfigurationError, match="one of 'ultra', not"):
        endpoint_of(name, ("ultra",))


def test_table_cannot_be_changed_by_a_call() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(endpoint_of("core"), "path", "/")  # noqa: B010 - mypy knows better
