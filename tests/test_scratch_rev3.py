from tests.test_scratch_rev2 import *
from tests.test_scratch_rev import _upscaled
from tests.support.pictures import png, recorded_jpeg
from tests.toy_family import *

async def test_u1_toy_existing(tmp_path):
    toys = ToyServer()
    async with emulated_client(EmulatorSettings(routes=toys.routes)) as here:
        out = tmp_path / "out"; out.mkdir()
        (out / "fox_1.png").write_bytes(png(50, 40) if False else png() + b"")
        mine = b"my own file"
        (out / "fox_2.jpg").write_bytes(mine)
        async with run_jobs(here.ez, [Toy("fox")], output=out) as run:
            e = await read(run)
        print(e.outcomes, sorted(p.name for p in out.iterdir()))
        assert any(p.read_bytes() == mine for p in out.iterdir() if p.is_file())

async def test_u2_text_existing(batch):
    batch.output.mkdir()
    (batch.output / "a very long prompt.txt").write_text("mine")
    from ezlink_async.requests import Shorten
    async with batch.client() as ez:
        async with run_jobs(ez, [Shorten("a very long prompt")], output=batch.output) as run:
            e = await read(run)
    print(e.outcomes, [(p.name, p.read_bytes()[:20]) for p in batch.output.iterdir() if p.is_file()])
    assert any(p.read_bytes() == b"mine" for p in batch.output.iterdir() if p.is_file())

async def test_u3_remix_batch(tmp_path):
    async with serving(EmulatorSettings(remix=True)) as server:
        batch = BatchHarness(tmp_path, server)
        for n in range(3):
            async with batch.client() as ez:
                async with run_jobs(ez, [Order.of(Imagine("a fox"), then=["🔄", "V1"])], output=batch.output) as run:
                    e = await read(run)
            for o in e.outcomes: print(n, o.status, o.label, o.error)
            print([c.units for c in batch.control.charges])
        assert len(batch.control.charges) == 3

def test_u4_again():
    with pytest.raises(ConfigurationError):
        Modal("8", prompt="x", again="no")

async def test_u5_restore_modal():
    async with emulated_client() as here:
        parent = await _upscaled(here)
        d = await here.ez.midjourney.action(parent.custom_zoom())
        s = d.to_dict()
        async with asyncio.timeout(5):
            with pytest.raises(ModalNeededError): await here.ez.restore(s)
            m = await here.ez.midjourney.modal(d, prompt="x")
            s = m.to_dict()
            await m
            r = here.ez.restore(s); rec = await r
            print(rec.action, s["family"])
            await here.ez.restore(m.to_dict())
            with contextlib.suppress(EzlinkError):
                print((await here.ez.restore(d.to_dict())).action)

async def test_u6_collide(tmp_path):
    toys = ToyServer()
    async with emulated_client(EmulatorSettings(routes=toys.routes), max_concurrency=1) as here:
        out = tmp_path / "out"
        orders = [Order.of(Imagine("x"), output="fox_1"), Toy("fox")]
        async with run_jobs(here.ez, orders, output=out) as run:
            e = await read(run)
        for o in e.outcomes: print(o.status, o.label, o.outputs, o.error)
        print(sorted((p.name, p.stat().st_size) for p in out.iterdir()))
        allout = [p for o in e.outcomes for p in o.outputs]
        assert len(set(allout)) == len(allout)

async def test_u7_second_existing(tmp_path):
    toys = ToyServer()
    async with emulated_client(EmulatorSettings(routes=toys.routes)) as here:
        out = tmp_path / "out"; out.mkdir()
        mine = png(70)
        (out / "fox_2.jpg").write_bytes(mine)
        async with run_jobs(here.ez, [Toy("fox")], output=out) as run:
            e = await read(run)
        print(e.outcomes, sorted(p.name for p in out.iterdir()))
        assert any(p.read_bytes() == mine for p in out.iterdir() if p.is_file())
