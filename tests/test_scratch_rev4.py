from tests.test_scratch_rev2 import *
from tests.test_scratch_rev import _upscaled
from tests.support.pictures import png, recorded_jpeg
from tests.toy_family import *
from ezlink_async.buttons import Button

async def test_v1_bug_budget(tmp_path):
    toys = ToyServer()
    async with emulated_client(EmulatorSettings(routes=toys.routes), max_concurrency=1) as here:
        here.server.control.script("toy", faults.Answer(200, "{}", "application/json"))
        async with asyncio.timeout(10):
            async with run_jobs(here.ez, [Toy("fox"), Toy("cat"), Toy("dog")], output=tmp_path, budget=2) as run:
                e = await read(run)
        for o in e.outcomes: print(o.status, o.label, o.error, o.maybe_charged)

async def test_v2_fuzz():
    vals = [None, 5, 1.5, b"x", "", " ", "x", [], [5], {}, object(), True, "\ud800", "a\0b", ("a",), {"a"}, Imagine("x"), Button(custom_id=""), float("nan"), -1, "..", "a/b", "x"*10000]
    async with emulated_client(retry=RetryPolicy(first=.01, longest=.02, attempts=1, timeout=1), timeouts=Timeouts(submit=1,reconcile=.1)) as here:
        mj = here.ez.midjourney
        bad = set()
        async def go(name, f):
            try:
                r = f()
                if asyncio.iscoroutine(r): await r
            except EzlinkError: pass
            except Exception as e: bad.add((name, repr(e)[:120]))
        async with asyncio.timeout(100):
          for v in vals:
            for n in ("prompt", "mode", "bot", "images", "state", "notify_hook", "account_filter"):
                kw = {"prompt": "x"}; kw[n] = v
                await go(("imagine", n, repr(v)[:20]), lambda: mj.imagine(kw.pop("prompt"), **kw))
            await go(("blend", repr(v)[:20]), lambda: mj.blend(v))
            await go(("blend2", repr(v)[:20]), lambda: mj.blend([v, v]))
            await go(("blendd", repr(v)[:20]), lambda: mj.blend([png(), png()], dimensions=v))
            await go(("describe", repr(v)[:20]), lambda: mj.describe(v))
            await go(("shorten", repr(v)[:20]), lambda: mj.shorten(v))
            await go(("action", repr(v)[:20]), lambda: mj.action(v))
            await go(("action2", repr(v)[:20]), lambda: mj.action(v, v))
            await go(("action3", repr(v)[:20]), lambda: mj.action("MJ::JOB::upsample::1::x", v))
            await go(("action4", repr(v)[:20]), lambda: mj.action("MJ::Inpaint::1::x::SOLO", "77", mask=v, prompt="x"))
            await go(("modal", repr(v)[:20]), lambda: mj.modal(v, prompt="x"))
            await go(("modal2", repr(v)[:20]), lambda: mj.modal("8", prompt=v))
            await go(("modal3", repr(v)[:20]), lambda: mj.modal("8", prompt="x", mask=v))
            await go(("change", repr(v)[:20]), lambda: mj.change(v, "upscale"))
            await go(("change2", repr(v)[:20]), lambda: mj.change("8", v))
            await go(("change3", repr(v)[:20]), lambda: mj.change("8", "upscale", v))
            await go(("seed", repr(v)[:20]), lambda: mj.image_seed(v))
            await go(("task", repr(v)[:20]), lambda: here.ez.task("8", family=v))
            await go(("restore", repr(v)[:20]), lambda: here.ez.restore(v))
            await go(("submit", repr(v)[:20]), lambda: here.ez.submit(v))
            await go(("submit_all", repr(v)[:20]), lambda: here.ez.submit_all(v).aclose())
        for b in sorted(bad): print(b)
        assert not bad

async def test_v3_order_fuzz():
    vals = [None, 5, b"x", "", [], [5], {}, object(), "\ud800", "a\0b", ("a",), Imagine("x"), "..", "../x", "/x", "x"*10000]
    bad = set()
    for v in vals:
        for f in (lambda: Order.of(v), lambda: Order.of(Imagine("x"), output=v), lambda: Order.of(Imagine("x"), then=v)):
            try: f()
            except EzlinkError: pass
            except Exception as e: bad.add((repr(v)[:20], repr(e)[:100]))
    for b in bad: print(b)
    assert not bad
