"""The catalogue of models: each id once, and what is no catalogue."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async import errors
from ezlink_async._core.messages import HttpResponse
from ezlink_async.services.catalogue import models_request, models_with, read_models
from tests.support.samples import family_samples


def _page(body: object, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {}, json.dumps(body).encode())


def _row(model: object, owner: object = "openai") -> dict[str, object]:
    one = json.loads(family_samples()["models-retrieve"].response.body)
    return {**one, "id": model, "root": model, "owned_by": owner}


def test_each_id_is_read_once_from_a_catalogue_as_large_as_the_real_one() -> None:
    """The server lists 463 entries with 389 ids in 200 kB."""
    ids = [f"model-{number % 389}" for number in range(463)]
    response = _page({"data": [_row(each) for each in ids], "object": "list"})
    assert len(response.body) > 150_000
    assert len(response.body) < models_request().answer_limit
    found = read_models(response)
    assert [model.id for model in found] == list(dict.fromkeys(ids))
    assert found[0].owner == "openai"
    assert found[0].created is not None
    assert found[0].created.isoformat() == "2021-07-20T10:40:00+00:00"
    assert models_request().path == family_samples()["models-list"].path
    assert models_request().repeatable


def test_of_two_owners_of_an_id_the_first_counts() -> None:
    (model,) = read_models(_page({"data": [_row("a", "x"), _row("a", "y")]}))
    assert model.owner == "x"


def test_odd_rows_are_left_out_and_odd_fields_are_empty() -> None:
    rows: list[object] = [
        7,
        None,
        {},
        {"id": ""},
        {"id": []},
        {"id": "a", "created": "x"},
    ]
    (model,) = read_models(_page({"data": rows}))
    assert (model.id, model.owner, model.created) == ("a", "", None)


@pytest.mark.parametrize("body", [[], {}, {"data": {}}, "x", None])
def test_answer_of_another_shape_is_a_protocol_error(body: object) -> None:
    with pytest.raises(errors.ProtocolError, match="no catalogue of models"):
        read_models(_page(body))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
_ROWS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["id", "owned_by", "created"], _JSON)
)


@given(st.fixed_dictionaries({"data": st.lists(_ROWS | _JSON) | _JSON}) | _JSON)
def test_any_answer_is_a_catalogue_of_different_ids_or_an_error(body: object) -> None:
    try:
        found = read_models(_page(body))
    except errors.ProtocolError:
        return
    ids = [model.id for model in found]
    assert len(set(ids)) == len(ids)
    assert all(ids)


def test_refusal_is_the_error_that_it_means() -> None:
    with pytest.raises(errors.RejectedError, match="Model name is required"):
        read_models(family_samples()["models-delete"].response)


def test_word_is_looked_for_in_ids_in_any_case() -> None:
    found = read_models(_page({"data": [_row("MiniMax-01"), _row("gpt-4o")]}))
    assert [model.id for model in models_with(found, "minimax")] == ["MiniMax-01"]
    assert models_with(found, None) == models_with(found, "") == found
    assert models_with(found, "nothing") == ()
