"""
What is run: the scenarios of the benchmark, as plain values.

Everything is scaled in time: *scale* 0.25 means that a job which takes 8 s at the
real server takes 2 s here, and that every wait of a client shrinks alike.
"""

from __future__ import annotations

from attrs import evolve, frozen

KB, MB = 1_000, 1_000_000
PLENTY = 1_000_000


@frozen(kw_only=True)
class Album:
    """Photos of one kind: a source, and targets between two sizes."""

    name: str
    count: int
    source: int
    least: int
    most: int

    @property
    def result(self) -> int:
        """The size of a result: that of a target, on average."""
        return (self.least + self.most) // 2


@frozen(kw_only=True)
class Plan:
    """
    What the server of a run does; seconds.

    Jobs take *mean* on average, and depend on *seed*. Rows are renewed every
    *refresh*, 0 is at once; *result* is the size of a result.
    """

    mean: float
    slots: int
    queue: int = PLENTY
    refresh: float = 0.0
    progress: bool = True
    seed: int = 0
    result: int = 0


NAIVE, OURS, PLAIN, FEW = "naive", "ours", "ours, no speed", "ours, 8 at once"
HEARTBEAT, DEFAULT = "ours, heartbeat", "ours, polling as by default"


@frozen(kw_only=True)
class Run:
    """
    One client of a scenario, under the name that the rows use.

    *shortest* is the least time between two polls of one task, at the real server.
    With *heartbeat* the lateness of the loop is measured, which costs some CPU time.
    """

    in_flight: int
    name: str = OURS
    client: str = "ours"
    speed: bool = True
    shortest: float = 1.0
    heartbeat: bool = False
    limit: float = 600


@frozen(kw_only=True)
class Scenario:
    """Photos, a server, and the clients that take turns with it."""

    name: str
    title: str
    album: Album
    runs: tuple[Run, ...]
    server: Plan
    scale: float = 0.25
    tls: bool = False
    safely: bool = False
    most_rounds: int = 100

    def plan(self, seed: int) -> Plan:
        """Return the plan of one round; each *seed* has durations of its own."""
        return evolve(self.server, seed=seed, result=self.album.result)


@frozen(kw_only=True)
class Order:
    """What the process of one client is asked to do."""

    run: Run
    base_url: str
    key: str
    photos: str
    count: int
    output: str
    scale: float
    safely: bool


LARGE = Album(name="large", count=200, source=MB, least=300 * KB, most=4 * MB)
# Photos of one size differ by some bytes: those of one length would be compared.
HUGE = Album(name="huge", count=32, source=8 * MB, least=7950 * KB, most=8050 * KB)
SMALL = Album(name="small", count=2000, source=20 * KB, least=19 * KB, most=21 * KB)
ALBUMS = {album.name: album for album in (LARGE, HUGE, SMALL)}

_SOON = 0.4  # seconds between two polls of one task


def _both(in_flight: int) -> tuple[Run, ...]:
    naive = Run(name=NAIVE, client="naive", in_flight=in_flight)
    return naive, Run(in_flight=in_flight)


SCENARIOS = (
    Scenario(
        name="X",
        title="32 photos of 8 MB at once",
        album=HUGE,
        runs=(
            *_both(32),
            Run(name=PLAIN, in_flight=32, speed=False),
            Run(name=FEW, in_flight=8),
            Run(name=HEARTBEAT, in_flight=32, heartbeat=True),
        ),
        server=Plan(mean=3.0, slots=32),
    ),
    Scenario(
        name="X-TLS",
        title="the same over TLS",
        album=HUGE,
        runs=(*_both(32), Run(name=HEARTBEAT, in_flight=32, heartbeat=True)),
        server=Plan(mean=3.0, slots=32),
        tls=True,
    ),
    Scenario(
        name="L",
        title="200 photos of 0.3 to 4 MB, 32 slots",
        album=LARGE,
        runs=(
            Run(name=NAIVE, client="naive", in_flight=32),
            Run(in_flight=32, shortest=_SOON),
            Run(name=PLAIN, in_flight=32, speed=False, shortest=_SOON),
            Run(name=DEFAULT, in_flight=32, heartbeat=True),
        ),
        server=Plan(mean=2.0, slots=32),
    ),
    Scenario(
        name="T",
        title="the same photos, jobs of 10 ms: the client is the limit",
        album=LARGE,
        runs=_both(32),
        server=Plan(mean=0.01, slots=32),
        scale=0.01,
    ),
    Scenario(
        name="L-refresh",
        title="L, rows refreshed every 2.5 s, no progress",
        album=LARGE,
        runs=_both(32),
        server=Plan(mean=2.0, slots=32, refresh=2.5, progress=False),
    ),
    Scenario(
        name="S",
        title="2000 photos of 20 KB, 128 slots",
        album=SMALL,
        runs=_both(128),
        server=Plan(mean=1.0, slots=128),
        scale=0.125,
        safely=True,
    ),
    Scenario(
        name="P",
        title="3 running, 10 queued, then refused; 64 wanted at once",
        album=evolve(SMALL, count=200),
        runs=(Run(in_flight=64),),
        server=Plan(mean=2.0, slots=3, queue=10),
        most_rounds=1,
    ),
)

_QUICK = {"X": 32, "X-TLS": 32, "L": 64, "T": 100, "L-refresh": 64, "S": 400, "P": 40}


def quick(scenario: Scenario) -> Scenario:
    """Return the same with fewer photos; ratios of so few are rough."""
    return evolve(scenario, album=evolve(scenario.album, count=_QUICK[scenario.name]))
