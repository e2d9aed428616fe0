"""Orders listed in a file: every kind of row, and every way to get one wrong."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import ClassVar

import attrs
import pytest

from ezlink_async.batch import read_manifest
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.midjourney import Mode
from ezlink_async.services.midjourney.creations import (
    Blend,
    Describe,
    Imagine,
    Shorten,
)
from ezlink_async.services.midjourney.follow_ups import Action, Change, Modal
from ezlink_async.services.registry import KINDS
from ezlink_async.services.video import Video
from tests.toy_family import Toy

BUTTON = "MJ::JOB::upsample::1::uuid"

posix = pytest.mark.skipif(os.name == "nt", reason="another kind of file system")


def _read(
    folder: Path, name: str, text: str | bytes, kind: str | None = None
) -> list[Order]:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_manifest(path, kind=kind))


def _lines(*rows: object) -> str:
    return "\n".join(map(json.dumps, rows))


def test_rows_of_json_are_orders_of_every_kind(tmp_path: Path) -> None:
    """Pictures begin at the folder of the file."""
    found = _read(
        tmp_path,
        "jobs.jsonl",
        _lines(
            {"kind": "imagine", "prompt": "a fox", "mode": "relax", "then": ["U1"]},
            {"kind": "imagine", "prompt": "x", "images": ["a.png"], "output": "b/c"},
            {"kind": "blend", "images": ["a.png", "/b.png"], "dimensions": "square"},
            {"kind": "describe", "image": "sub/a.png", "bot": "niji"},
            {"kind": "shorten", "prompt": "many words", "state": "s"},
            {"kind": "action", "button": BUTTON, "task": "17"},
            {"kind": "modal", "task": "17", "prompt": "a hat", "again": True},
            {"kind": "change", "task": "17", "what": "upscale", "index": 3},
            {"kind": "swap", "source": "me.jpg", "target": "trip/a.jpg"},
            {"kind": "swap", "source": "me.jpg", "target": "a.jpg", "mode": "fast"},
            {"kind": "swap", "source": "me.jpg", "target": "/far/a.jpg"},
        ),
    )
    here = tmp_path
    swap = Pair(here / "me.jpg", here / "trip/a.jpg", "trip/a")
    assert found == [
        Order.of(Imagine("a fox", mode="relax"), then=["U1"]),
        Order.of(Imagine("x", images=[here / "a.png"]), output="b/c"),
        Order.of(Blend([here / "a.png", "/b.png"], dimensions="square")),
        Order.of(Describe(here / "sub/a.png", bot="niji")),
        Order.of(Shorten("many words", state="s")),
        Order.of(Action(BUTTON, "17")),
        Order.of(Modal("17", prompt="a hat", again=True)),
        Order.of(Change("17", "upscale", 3)),
        swap.order(),
        Pair(here / "me.jpg", here / "a.jpg", "a").order(Mode.FAST),
        Pair(here / "me.jpg", "/far/a.jpg", "a").order(),
    ]


@pytest.mark.parametrize(
    ("name", "separator"), [("a.csv", ","), ("a.CSV", "|"), ("a.tsv", "\t")]
)
def test_cells_of_a_table_are_texts_numbers_and_lists(
    tmp_path: Path, name: str, separator: str
) -> None:
    """Empty ones are absent fields."""
    rows = [
        "kind,prompt,images,then,count,task,what,index,again,output",
        "imagine,a fox,a.png;b.png,U1; V2,,,,,,",
        "imagine,,,,2,,,,,",
        "change,,,,,17,upscale,2,,up",
        "modal,a hat,,,,17,,,TRUE,",
    ]
    rows[2] = "shorten,many words,,,2,,,,,"
    text = "\n".join(rows)
    # Lists take semicolons, so that those do not separate the columns here.
    text = text if separator == "|" else text.replace(",", separator)
    assert _read(tmp_path, name, "\ufeff" + text) == [
        Order.of(
            Imagine("a fox", images=[tmp_path / "a.png", tmp_path / "b.png"]),
            then=["U1", "V2"],
        ),
        Order.of(Shorten("many words")),
        Order.of(Shorten("many words"), output="many words-2"),
        Order.of(Change("17", "upscale", 2), output="up"),
        Order.of(Modal("17", prompt="a hat", again=True)),
    ]


def test_columns_may_be_separated_by_semicolons(tmp_path: Path) -> None:
    found = _read(tmp_path, "a.csv", "kind;prompt\nimagine;a fox, running\n")
    assert found == [Order.of(Imagine("a fox, running"))]


def test_the_kind_of_rows_without_one_is_the_reader_s(tmp_path: Path) -> None:
    text = 'prompt\n"a fox, and a cat"\na dog\n'
    assert _read(tmp_path, "a.csv", text, "imagine") == [
        Order.of(Imagine("a fox, and a cat")),
        Order.of(Imagine("a dog")),
    ]


def test_a_row_with_a_count_is_many_jobs_with_places_of_their_own(
    tmp_path: Path,
) -> None:
    row = {"kind": "imagine", "prompt": "a fox", "count": 3, "then": ["U1"]}
    found = _read(tmp_path, "a.jsonl", json.dumps(row))
    first = Order.of(Imagine("a fox"), then=["U1"])
    names = ["a fox", "a fox-2", "a fox-3"]
    assert found == [attrs.evolve(first, wanted_path=name) for name in names]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            {"kind": "imagines", "prompt": "x"},
            "the kind 'imagines' is none of action, ",
        ),
        ({"prompt": "x"}, "a row needs a kind: action, blend, "),
        ({"kind": ["imagine"], "prompt": "x"}, "the kind "),
        ({"kind": "imagine", "prompts": "x"}, "imagine has no field 'prompts'"),
        ({"kind": "imagine"}, "imagine needs the field 'prompt'"),
        ({"kind": "imagine", "prompt": None}, "imagine needs the field 'prompt'"),
        ({"kind": "imagine", "prompt": " "}, "the prompt is a text"),
        ({"kind": "imagine", "prompt": 3}, "the prompt is a text"),
        ({"kind": "imagine", "prompt": "x --fast", "mode": "relax"}, "fast"),
        ({"kind": "imagine", "prompt": "x", "mode": "slow"}, "mode is one of"),
        ({"kind": "imagine", "prompt": "x", "bot": []}, "bot is one of"),
        ({"kind": "imagine", "prompt": "x", "images": "a.png"}, "images is a list"),
        ({"kind": "imagine", "prompt": "x", "images": [3]}, "images is a path of a"),
        ({"kind": "imagine", "prompt": "x", "images": ["\0"]}, "images is a path"),
        ({"kind": "imagine", "prompt": "x", "count": 0}, "count is 1 to 10,000"),
        ({"kind": "imagine", "prompt": "x", "count": True}, "count is 1 to 10,000"),
        ({"kind": "imagine", "prompt": "x", "count": "2"}, "count is 1 to 10,000"),
        ({"kind": "imagine", "prompt": "x", "then": "U1"}, "then is a list of texts"),
        ({"kind": "imagine", "prompt": "x", "then": [1]}, "then is a list of texts"),
        ({"kind": "flux", "model": "f", "prompt": "x", "then": ["U1"]}, "no buttons"),
        (
            {"kind": "video", "model": "kling-v1", "prompt": "x", "then": ["U1"]},
            "video has no buttons to press: leave out then",
        ),
        ({"kind": "imagine", "prompt": "x", "output": "../x"}, "is no path below"),
        ({"kind": "imagine", "prompt": "x", "output": 3}, "is no path below"),
        ({"kind": "blend", "images": ["a.png"]}, "a blend has 2 to 5 pictures"),
        ({"kind": "describe"}, "describe needs the field 'image'"),
        ({"kind": "action", "task": "17"}, "action needs the field 'button'"),
        ({"kind": "action", "button": "U1", "task": "17"}, "no button's custom id"),
        ({"kind": "modal", "task": "17"}, "give the prompt for task 17"),
        ({"kind": "change", "task": "17", "what": "up"}, "what is one of"),
        ({"kind": "swap", "source": "a"}, "swap needs the field 'target'"),
        ({"kind": "swap", "source": ["a"], "target": "b"}, "one picture each"),
        ({"kind": "swap", "source": "a", "target": "b", "count": 2}, "has no count"),
        ({"kind": "swap", "source": "a", "target": "b", "mode": 3}, "mode is one of"),
        (
            {"kind": "swap", "source": "a", "target": "b", "options": {}},
            "swap has no field 'options'",
        ),
        (["imagine"], "this is no object"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else None,
)
def test_a_wrong_row_is_named_before_any_order_is_given(
    tmp_path: Path, row: object, says: str
) -> None:
    """It may be the last of many."""
    good = {"kind": "imagine", "prompt": "a fox"}
    path = tmp_path / "a.jsonl"
    path.write_text(_lines(good, good, row))
    with pytest.raises(ConfigurationError) as caught:
        next(read_manifest(path))
    assert f"{path}, line 3: " in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind,prompt\nimagine,x,y\n", "line 2: it has more values than"),
        ("kind,prompts\nimagine,x\n", "line 1: the heading names columns such as"),
        ("", "line 1: the heading names columns such as"),
        (
            "kind,task,what,index\nchange,17,upscale,two\n",
            "line 2: index is a whole number, not 'two'",
        ),
        (
            "kind,model,prompt,seconds\nvideo,kling-v1,x,long\n",
            "line 2: seconds is a number, not 'long'",
        ),
        (
            'kind,model,body\nvideo,kling-v1,"{""mode"": ""pro""}"\n',
            "line 2: body is an object: in a table each of its fields is a column",
        ),
        (
            'kind,model,prompt,extra\nflux,flux-2-pro,x,"{""a"": 1}"\n',
            "line 2: extra is an object: in a table each of its fields is a column",
        ),
        (
            'kind,model,prompt,set.a\nvideo,kling-v1,x,"{""b"": 7"\n',
            "line 2: set.a is no JSON: ",
        ),
        ("kind,prompt,count\nimagine,x,-2\n", "count is 1 to 10,000"),
        (b"kind,prompt\nimagine,\xff\n", "cannot be read: 'utf-8' codec"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(ConfigurationError, match=r"a\.csv") as caught:
        _read(tmp_path, "a.csv", text)
    assert says in str(caught.value)


@attrs.frozen
class _Sized(Toy):
    """A request of a plugin, which raises the error of Python for an odd value."""

    kind: ClassVar[str] = "sized"
    size: int = attrs.field(default=1, converter=int)


def test_error_of_a_request_of_a_plugin_names_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, _Sized.kind, _Sized)
    row = {"kind": _Sized.kind, "word": "a fox", "size": "big"}
    with pytest.raises(ConfigurationError, match="line 1: a value cannot be used"):
        _read(tmp_path, "a.jsonl", _lines(row))


@posix
def test_a_manifest_that_cannot_be_read_twice_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for path in (tmp_path, tmp_path / "pipe.jsonl"):
        with pytest.raises(ConfigurationError, match="is no file that can be read"):
            next(read_manifest(path))
    with pytest.raises(ConfigurationError, match=r"nothing.jsonl cannot be read"):
        next(read_manifest(tmp_path / "nothing.jsonl"))


def test_many_rows_take_the_memory_of_few(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("w") as stream:
        for number in range(5_000):
            stream.write(f'{{"kind": "imagine", "prompt": "fox {number}"}}\n')
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_manifest(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 5_000
    assert peak < 500_000


# --- videos


def test_columns_below_set_are_fields_in_the_words_of_a_provider(
    tmp_path: Path,
) -> None:
    """A cell is JSON, or else a text; an empty one is an absent field."""
    table = (
        "model,prompt,image,seconds,set.mode,set.cfg_scale,set.a\n"
        'kling-v1,a cat,a.png,5,pro,0.5,"{""b"": [1]}"\n'
        "kling-v1,a dog,https://a.example/b.png,,std,,16:9\n"
        "kling-v1,a fox,,,,,\n"
    )
    cat, dog, fox = _read(tmp_path, "clips.csv", table, kind="video")
    assert cat.request == Video(
        "kling-v1",
        {"mode": "pro", "cfg_scale": 0.5, "a": {"b": [1]}},
        prompt="a cat",
        image=tmp_path / "a.png",
        seconds=5,
    )
    assert dog.request == Video(
        "kling-v1",
        {"mode": "std", "a": "16:9"},
        prompt="a dog",
        image="https://a.example/b.png",
    )
    assert fox.request == Video("kling-v1", prompt="a fox")
    assert [each.role for each in cat.inputs] == ["image"]
    assert (dog.inputs, fox.inputs) == ((), ())


def test_rows_of_json_have_the_body_of_a_video_as_it_is(tmp_path: Path) -> None:
    row = {"kind": "video", "model": "luma-ray2", "prompt": "a cat"}
    body = {"loop": True, "keyframes": {"frame0": {"url": "https://a.example"}}}
    (found,) = _read(
        tmp_path, "a.jsonl", _lines({**row, "body": body, "set.more": [1]})
    )
    assert found.request == Video("luma-ray2", {**body, "more": [1]}, prompt="a cat")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"kind": "imagine", "prompt": "x", "set.a": 1}, "no field 'set.a'"),
        ({"kind": "video", "model": "m", "set.": 1}, "video has no field 'set.'"),
        (
            {"kind": "video", "model": "m", "body": {"a": 1}, "set.a": 2},
            "a is given twice",
        ),
        ({"kind": "video", "model": "m", "body": "x", "set.a": 2}, "body is an object"),
        ({"kind": "video", "model": "m", "body": "x"}, "no object of JSON"),
        ({"kind": "video", "prompt": "x"}, "video needs the field 'model'"),
        (
            {"kind": "imagine", "prompt": "x", "images": ["https://a.example"]},
            "address",
        ),
        ({"kind": "describe", "image": "https://a.example/b.png"}, "address"),
    ],
)
def test_wrong_fields_of_a_provider_name_their_line(
    tmp_path: Path, row: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        _read(tmp_path, "a.jsonl", _lines(row))
    assert "line 1" in str(caught.value)


def test_heading_with_a_column_that_sets_nothing_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the heading names columns"):
        _read(tmp_path, "a.csv", "kind,set.\nvideo,1\n")
