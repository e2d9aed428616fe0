"""Pictures of a field, in a tuple, and among the leaves of a body."""

from __future__ import annotations

from pathlib import Path

import pytest

from ezlink_async import Image
from ezlink_async.errors import ImageError
from ezlink_async.services.leaves import Base64, is_address, mapped, pictures_in
from tests.support.pictures import png

ONE = Image(content=png())

FAR = "https://a.example/cat.png"


def test_address_counts_as_no_picture() -> None:
    assert is_address(FAR)
    assert not is_address("http://a.example")
    assert not is_address(Path(FAR))
    assert pictures_in(FAR) == ()
    assert pictures_in((FAR, "cat.png", FAR)) == ("cat.png",)
    assert pictures_in(None) == ()


def test_text_in_a_body_is_no_picture() -> None:
    body = {"a": "cat.png", "b": [ONE, (Base64(ONE), 7)], "c": {"d": ONE}}
    assert pictures_in(body) == (ONE, ONE, ONE)


def test_pictures_are_replaced_and_all_else_stays() -> None:
    names = iter("xyz")
    body = {"a": "cat.png", "b": [ONE, (Base64(ONE), 7)], "c": {"d": ONE}}
    replaced = mapped(body, lambda _: next(names), lambda name: f"<{name}>")
    assert replaced == {"a": "cat.png", "b": ["x", ["<y>", 7]], "c": {"d": "z"}}
    assert mapped((ONE, FAR), lambda _: "x") == ("x", FAR)
    assert mapped(Base64(ONE), lambda _: "x", str.upper) == "X"  # type: ignore[arg-type]


def test_bare_base64_takes_a_picture_in_any_form() -> None:
    assert Base64("cat.png").image == Image(path=Path("cat.png"))
    with pytest.raises(ImageError):
        Base64(b"GIF89a")
