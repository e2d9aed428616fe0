from tests.test_scratch_rev import *
from tests.test_scratch_rev import _upscaled
from tests.support.pictures import png
from ezlink_async import Timeouts
import asyncio, contextlib

@pytest.mark.parametrize("f", ["empty", "504", "drop", "cut", "insert", "badjson", "noid"])
async def test_t7_free(f):
    async with emulated_client(timeouts=Timeouts(submit=1, reconcile=.3)) as here:
        parent = await _upscaled(here)
        fault = {"empty": faults.Trouble("panic"), "drop": faults.Drop(), "504": faults.proxy(504), "cut": faults.Cut(5), "insert": faults.Trouble("insert_failed"), "badjson": faults.Answer(200, "<html>", job=True), "noid": faults.Upstream(body={"code": 1, "description": "ok"})}[f]
        here.server.control.script("action", fault)
        d = await here.ez.midjourney.action(parent.custom_zoom())

@pytest.mark.parametrize("f", ["quota", "401", "busy", "403", "no_channel", "user"])
async def test_t8(f):
    async with emulated_client(retry=RetryPolicy(first=.01, longest=.02, attempts=2, timeout=1)) as here:
        parent = await _upscaled(here)
        d = await here.ez.midjourney.action(parent.custom_zoom())
        E = '{"error":{"message":"%s (request id: 2026)","type":"api_error"}}'
        fault = {"quota": faults.Answer(400, '{"code":4,"description":"User quota is not enough Error","type":"upstream_error"}', "application/json"),
          "401": faults.Answer(401, E % "The token quota has been exhausted", "application/json"),
          "busy": faults.queue_full(), "403": faults.Answer(403, E % "User has been banned", "application/json"), "no_channel": faults.Trouble("no_channel"), "user": faults.Trouble("user_quota_lookup")}[f]
        here.server.control.standing("modal", fault)
        try:
            await here.ez.midjourney.modal(d, prompt="x")
            print("no error")
        except EzlinkError as e:
            print(type(e), e.retry_safe, e.maybe_charged, e)
        here.server.control.standing("modal", None)
        await here.ez.midjourney.modal(d, prompt="x")

async def test_t9_preview():
    async with emulated_client() as here:
        here.server.control.script_tasks(scripts.sequence({"status": "IN_PROGRESS", "progress": "40%", "imageUrl": "http://up/preview.webp"}))
        here.server.control.standing("image", faults.Picture(content=png()))
        E = '{"error":{"message":"The token quota has been exhausted (request id: 2026)","type":"api_error"}}'
        h = await here.ez.midjourney.imagine("a fox")
        for n in ("fetch", "list"):
            here.server.control.standing(n, faults.Answer(401, E, "application/json"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                r = await h
                print(r)
                print(len(await h.read()))
                raise AssertionError("a preview was taken for the result")

async def test_t6b(batch):
    async with batch.client(concurrency=1) as ez:
        orders = [Order.of(Imagine("a \ud800 fox"), output="x"), Order.of(Imagine("d"), then=["\ud800"]), Order.of(Imagine("e"), then=["U1","u1","U 1","MJ::JOB::upsample::1::x"])]
        async with run_jobs(ez, orders, output=batch.output) as run:
            e = await read(run)
        for o in e.outcomes: print(o.status, repr(o.label), o.error, o.outputs)
        print(repr(e.error), [c.units for c in batch.control.charges])
        async with run_jobs(ez, orders, output=batch.output) as run:
            e = await read(run)
        for o in e.outcomes: print(o.status, repr(o.label), o.error)
        print(repr(e.error), [c.units for c in batch.control.charges])
