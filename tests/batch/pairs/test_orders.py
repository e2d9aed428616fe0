"""Orders: what each is called, what it is known by, and what is sent."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import attrs
import pytest

from ezlink_async import Image
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.orders import Order, request_key
from ezlink_async.batch.pairs.pictures import Input
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.base import AnyRecord, JobRequest
from ezlink_async.services.face_swap import FaceSwap
from ezlink_async.services.midjourney import Mode
from ezlink_async.services.midjourney.creations import (
    Blend,
    Describe,
    Imagine,
    Shorten,
)
from ezlink_async.services.midjourney.follow_ups import Action
from tests.support.pictures import jpeg

A, B = b"a" * 32, b"b" * 32
PLAIN = Order(kind="action", request=None, wanted_path="x", label="x")
INPAINT = "MJ::Inpaint::1::uuid::SOLO"
UPSAMPLE = "MJ::JOB::upsample::1::uuid"


@pytest.mark.parametrize(
    ("request_", "wanted", "label"),
    [
        (Imagine("a red fox"), "a red fox", "a red fox"),
        (Imagine("a  red\nfox"), "a red fox", None),
        (Imagine("w" * 90), "w" * 60, None),
        (Imagine("a/b: <c>?"), "a_b_ _c__", "a/b: <c>?"),
        (Imagine("a\x01b"), "a_b", None),
        (Imagine(".."), "._", ".."),
        (Imagine("x", images=["in/ref.png"]), "x", "x"),
        (Describe("trip/photo.jpg"), "photo", "trip/photo.jpg"),
        (Blend(["a.jpg", "b.png"]), "a", "a.jpg, b.png"),
        (Action(UPSAMPLE, "17"), f"{UPSAMPLE} of 17".replace(":", "_"), None),
    ],
    ids=repr,
)
def test_a_result_is_named_by_the_prompt_or_the_picture(
    request_: JobRequest[AnyRecord], wanted: str, label: str | None
) -> None:
    order = Order.of(request_)
    assert order.wanted_path == wanted
    assert label is None or order.label == label
    assert order.kind == request_.kind
    assert Order.of(request_, output="here").wanted_path == "here"


def test_pictures_of_an_order_have_their_roles_and_absolute_paths() -> None:
    order = Order.of(Blend(["a.jpg", Image.from_bytes(jpeg(5_000)), "/b.png"]))
    assert [each.role for each in order.inputs] == ["images"] * 3
    assert [each.path for each in order.inputs] == [
        Path("a.jpg"),
        Path("images"),
        Path("/b.png"),
    ]
    assert [each.path for each in order.stored] == [
        Path("a.jpg").absolute(),
        Path("images"),
        Path("/b.png"),
    ]
    assert order.files == [Path("a.jpg"), Path("/b.png")]
    assert order.is_in_memory
    assert not Order.of(Imagine("x")).is_in_memory


@pytest.mark.parametrize("wrong", ["a prompt", None, 3, Path("a.jpg")])
def test_a_value_that_is_no_job_request_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="an order is made of a job request"):
        Order.of(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("then", ["U1", [1], ["U1", None], None, 7])
def test_buttons_are_a_list_of_texts(then: object) -> None:
    with pytest.raises(ConfigurationError, match="then is a list of buttons"):
        Order.of(Imagine("x"), then=then)  # type: ignore[arg-type]
    assert Order.of(Imagine("x"), then=iter(["U1", "V2"])).then == ("U1", "V2")


@pytest.mark.parametrize("output", [7, b"x", Path("x")])
def test_place_of_a_result_is_a_text(output: object) -> None:
    with pytest.raises(ConfigurationError, match="output is a text"):
        Order.of(Imagine("x"), output=output)  # type: ignore[arg-type]


# What it is known by


def test_the_identity_holds_all_that_changes_the_result() -> None:
    """Pictures by their content; neither the mode, nor the state, nor the names."""
    order = Order.of(Imagine("a fox", images=["a.jpg"], mode="relax", state="s"))
    same = Order.of(Imagine("a fox", images=["b.jpg"]), output="x", then=["U1"])
    assert order.identity([A], {}) == same.identity([A], {})
    assert json.loads(order.identity([A], {})) == {
        "images": [A.hex()],
        "prompt": "a fox",
    }
    assert order.identity([A], {}) != order.identity([B], {})


@pytest.mark.parametrize("options", [{}, {"strip_metadata": True}])
def test_options_count_where_there_are_pictures(options: dict[str, object]) -> None:
    described = Order.of(Describe("a.jpg")).identity([A], options)
    expected = {"image": A.hex(), **({"options": options} if options else {})}
    assert json.loads(described) == expected
    assert list(json.loads(described)) == sorted(expected)
    assert json.loads(Order.of(Shorten("x")).identity([], options)) == {"prompt": "x"}
    swap = Pair("me.jpg", "a.jpg").order().identity([A, B], options)
    assert json.loads(swap) == {
        "options": options,
        "source": A.hex(),
        "target": B.hex(),
    }
    assert list(json.loads(swap)) == ["options", "source", "target"]


def test_an_order_and_its_job_in_a_journal_have_one_key() -> None:
    """It is the same with other pictures, and with other preparations of them."""
    for order, digests in (
        (Order.of(Imagine("a fox", images=["a.jpg"], bot="niji")), [A]),
        (Order.of(Shorten("x" * 64)), []),
        (Order.of(Blend(["a.jpg", "b.jpg"])), [A, B]),
        (Pair("me.jpg", "a.jpg").order(), [A, B]),
        (attrs.evolve(PLAIN, named='{"button":"U1","parent":{"prompt":"x"}}'), []),
    ):
        for options in ({}, {"strip_metadata": True}):
            stored = order.identity(digests, options)
            assert request_key(order.kind, stored) == order.request_key
    fox, cat = (Order.of(Imagine(each)).request_key for each in ("a fox", "a cat"))
    assert fox != cat
    assert Order.of(Shorten("a fox")).request_key != fox


def test_an_order_of_the_journal_has_no_request() -> None:
    assert (PLAIN.shared, PLAIN.is_free) == (0, False)
    assert PLAIN.identity([], {}) == "{}"
    with pytest.raises(ConfigurationError, match="x has no request"):
        PLAIN.prepared([])


# What is sent


def test_prepared_pictures_take_the_place_of_the_given_ones() -> None:
    """A job request of one picture, of many, of an optional one, and of none."""
    first, second = (Image.from_bytes(jpeg(5_000 + number)) for number in range(2))
    blend = Order.of(Blend(["a.jpg", "b.jpg"], dimensions="square"))
    assert blend.prepared([first, second]) == Blend(
        [first, second], dimensions="square"
    )
    assert Order.of(Describe("a.jpg")).prepared([first]) == Describe(first)
    plain = Imagine("x", state="s")
    assert Order.of(plain).prepared([]) == plain
    swap = Pair("me.jpg", jpeg(6_000), name="a").order(Mode.FAST)
    assert swap.prepared([first, second]) == FaceSwap(first, second, mode=Mode.FAST)


@pytest.mark.parametrize(
    ("request_", "is_free"),
    [
        (Action(INPAINT, "17"), True),
        (Action(UPSAMPLE, "17"), False),
        (Imagine("x"), False),
        (Describe("a.jpg"), False),
    ],
)
def test_a_dialog_is_free(request_: JobRequest[AnyRecord], *, is_free: bool) -> None:
    """Its modal is charged, which is another order."""
    assert Order.of(request_).is_free is is_free


def test_an_order_can_be_written_to_a_file_and_read_again() -> None:
    for order in (
        Order.of(Imagine("x", images=["a.jpg"], mode="relax"), then=["U1"]),
        Pair("me.jpg", "a.jpg", problem="no").order(),
    ):
        again = pickle.loads(pickle.dumps(order))  # noqa: S301 - our own
        assert again == order
        assert again.pictures == order.pictures
        assert again.inputs == tuple(
            Input(each.role, each.path) for each in order.inputs
        )
