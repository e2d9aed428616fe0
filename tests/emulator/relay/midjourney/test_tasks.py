"""Fetch, list, picture and seed, where no recording shows them."""

from __future__ import annotations

import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.emulator_requests import LIST, RawApi


@pytest.mark.parametrize("body", [b"[]", b'{"ids":"1"}', b'{"ids":[1]}', b"7"])
async def test_list_without_ids_of_text_is_refused(body: bytes, api: RawApi) -> None:
    """The refusal is a 400 that is sent as text."""
    response = await api.post(LIST, body)

    assert response.status == 400
    assert response.header("Content-Type") == "text/plain; charset=utf-8"


async def test_seed_of_a_swap_is_refused(emu: Emulator, api: RawApi) -> None:
    """The upstream has no seed for a swap; a broken call to it is code 5."""
    emu.control.script("seed", faults.Upstream(broken="refused"))
    path = f"/mj/task/{await api.submit()}/image-seed"

    broken, refused = await api.get(path), await api.get(path)

    assert b"do_request_failed " in broken.body
    assert (refused.status, refused.fields()["code"]) == (200, 4)


async def test_picture_is_served_at_the_upstreams_address(api: RawApi) -> None:
    """The address of the picture in notifications is served; another id is a 404."""
    task_id = await api.swapped()

    assert (await api.get(f"/__emu/cdn/{task_id}")).status == 200
    assert (await api.get("/__emu/cdn/1")).status == 404


async def test_seed_of_a_finished_drawing_is_a_number_of_its_own(api: RawApi) -> None:
    """The same task has the same seed at every question, another one another."""
    ids = [(await api.draw("imagine", prompt="a cat"))["id"] for _ in range(2)]
    paths = [f"/mj/task/{one}/image-seed" for one in ids]

    seeds = [(await api.get(path)).fields()["result"] for path in (*paths, paths[0])]

    assert seeds[0] == seeds[2] != seeds[1]
    assert all(isinstance(each, str) and each.isdecimal() for each in seeds)


async def test_seed_of_an_unfinished_task_is_refused_by_the_upstream(
    emu: Emulator, api: RawApi
) -> None:
    emu.control.script("imagine", faults.Life(scripts.stuck()))
    task_id = (await api.call("imagine", prompt="a cat")).fields()["result"]

    answer = await api.get(f"/mj/task/{task_id}/image-seed")

    assert (answer.status, answer.fields()["code"]) == (200, 4)
