"""JSON as Go writes and reads it."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ezlink_async.emulator.http import go_json

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None]}, '{"b":1,"a":[true,null]}'),
        ("<a&b>", r'"\u003ca\u0026b\u003e"'),
        ("\u2028\u2029", r'"\u2028\u2029"'),
        ("提交成功", '"提交成功"'),
        ('"\\\n', r'"\"\\\n"'),
        (2000.0, "2000"),
        (16.2, "16.2"),
        (1.7999999999999998, "1.7999999999999998"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (0.000001, "0.000001"),
        (1e-7, "1e-07"),
        (0.0, "0"),
        (-3.25, "-3.25"),
        ((1, 2), "[1,2]"),
    ],
)
def test_escapes_numbers_and_order_are_those_of_encoding_json(
    value: object, text: str
) -> None:
    assert go_json.dumps(value).decode() == text


@settings(deadline=None, max_examples=60)
@given(_VALUES)
def test_output_reads_back_as_the_same_value(value: object) -> None:
    """Every value reads back unchanged, except for lone surrogates."""
    written = go_json.dumps(value)
    plain = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    # a float without a point reads back as an integer: compare them as floats
    assert json.loads(written, parse_int=float) == json.loads(plain, parse_int=float)


def test_ordered_sorts_keys_at_every_depth_and_no_list() -> None:
    value = {"b": [{"d": 1, "c": 2}], "a": 0}
    assert go_json.dumps(go_json.ordered(value)) == b'{"a":0,"b":[{"c":2,"d":1}]}'


@pytest.mark.parametrize(
    "text",
    ["", "{", "NaN", "[Infinity]", "{}x", "[" * 100_000, "1e400", "[-1.5e999]"],
)
def test_text_that_is_not_json_is_a_value_error(text: str) -> None:
    """So are deep nesting, what is not a number, and one that no double holds."""
    with pytest.raises(ValueError, match=r".+"):
        go_json.loads(text.encode())


def test_loads_first_ignores_bytes_behind_the_first_value() -> None:
    assert go_json.loads_first(b' {"ids":[]} xx') == {"ids": []}


def test_loads_first_refuses_deep_nesting() -> None:
    with pytest.raises(ValueError, match="deeply"):
        go_json.loads_first(b"[" * 100_000)


def test_folded_finds_all_spellings_of_a_key_in_order() -> None:
    value = {"IDS": 1, "x": 2, "ids": math.pi}
    assert go_json.folded(value, "Ids") == [1, math.pi]
