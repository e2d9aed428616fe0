"""The catalogue has the shape of the real one, whose list was not recorded."""

from __future__ import annotations

import json

from tests.emulator.recorded import SAMPLES
from tests.support.emulator_requests import RawApi


async def test_list_has_entries_as_of_one_model_and_ids_of_several_owners(
    api: RawApi,
) -> None:
    """The recording counted doubled ids and 19 owners, and no model of a channel."""
    answer = await api.get("/v1/models")
    body = answer.fields()
    assert list(body) == ["data", "object"]
    assert body["object"] == "list"
    rows = body["data"]
    assert isinstance(rows, list)
    one = json.loads(SAMPLES["models-retrieve"]["response"]["body"]["text"])
    for row in rows:
        assert list(row) == list(one)
        named = {"id": row["id"], "root": row["id"], "owned_by": row["owned_by"]}
        assert row == {**one, **named}
    ids = [row["id"] for row in rows]
    assert len(set(ids)) < len(ids)
    assert "swap_face" in ids
    assert "nope-1" not in ids
    assert len({row["owned_by"] for row in rows}) == 19
    assert answer.header("Content-Encoding") is None


async def test_model_of_several_owners_is_shown_with_the_last(api: RawApi) -> None:
    body = (await api.get("/v1/models/claude-3-haiku-20240307")).fields()
    assert body["owned_by"] == "vertexai"
