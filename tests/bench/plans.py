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
        """How large a result is: as large as a target, on average."""
        return (self.least + self.most) // 2


@frozen(kw_only=True)
class Plan:
    """What the server is told before a run; seconds."""

    seed: int
    mean: float
    slots: int
    queue: int
    beat: float
    progress: bool
    result: int


@frozen(kw_only=True)
class Run:
    """
    One client of a scenario, under the name the rows know it by.

    *shortest* is the least time between two looks at one task, at the real server.
    *watched* lets a heartbeat run beside it, which costs some CPU time.
    """

    name: str
    client: str
    in_flight: int
    speed: bool = True
    shortest: float = 1.0
    watched: bool = False
    limit: float = 600


@frozen(kw_only=True)
class Scenario:
    """Photos, a server, and the clients that take turns with it."""

    name: str
    title: str
    album: Album
    runs: tuple[Run, ...]
    mean: float
    slots: int
    scale: float = 0.25
    queue: int = PLENTY
    beat: float = 0.0
    progress: bool = True
    tls: bool = False
    safely: bool = False
    most_rounds: int = 100

    def plan(self, seed: int) -> Plan:
        """Return the server's side of it; each *seed* has durations of its own."""
        return Plan(
            seed=seed,
            mean=self.mean,
            slots=self.slots,
            queue=self.queue,
            beat=self.beat,
            progress=self.progress,
            result=self.album.result,
        )


@frozen(kw_only=True)
class Order:
    """What the process of one client is told."""

    client: str
    base_url: str
    key: str
    photos: str
    count: int
    output: str
    in_flight: int
    scale: float
    shortest: float
    speed: bool
    safely: bool
    heartbeat: bool
    limit: float


LARGE = Album(name="large", count=200, source=MB, least=300 * KB, most=4 * MB)
# Photos of one size differ by some bytes: of one length they would be compared.
HUGE = Album(name="huge", count=32, source=8 * MB, least=7950 * KB, most=8050 * KB)
SMALL = Album(name="small", count=2000, source=20 * KB, least=19 * KB, most=21 * KB)
ALBUMS = {album.name: album for album in (LARGE, HUGE, SMALL)}

NAIVE, OURS, PLAIN, FEW = "naive", "ours", "ours, no speed", "ours, 8 at once"
WATCHED, DEFAULT = "ours, watched", "ours, looks as by default"
_SOON = 0.4  # seconds between two looks at one task


def _naive(in_flight: int) -> Run:
    return Run(name=NAIVE, client="naive", in_flight=in_flight)


def _ours(in_flight: int) -> Run:
    return Run(name=OURS, client="ours", in_flight=in_flight)


def _pair(in_flight: int) -> tuple[Run, ...]:
    return _naive(in_flight), _ours(in_flight)


def _plain(in_flight: int) -> Run:
    return evolve(_ours(in_flight), name=PLAIN, speed=False)


SCENARIOS = (
    Scenario(
        name="X",
        title="32 photos of 8 MB at once",
        album=HUGE,
        runs=(
            *_pair(32),
            _plain(32),
            evolve(_ours(8), name=FEW),
            evolve(_ours(32), name=WATCHED, watched=True),
        ),
        mean=3.0,
        slots=32,
    ),
    Scenario(
        name="X-TLS",
        title="the same over TLS",
        album=HUGE,
        runs=(*_pair(32), evolve(_ours(32), name=WATCHED, watched=True)),
        mean=3.0,
        slots=32,
        tls=True,
    ),
    Scenario(
        name="L",
        title="200 photos of 0.3 to 4 MB, 32 slots",
        album=LARGE,
        runs=(
            _naive(32),
            evolve(_ours(32), shortest=_SOON),
            evolve(_plain(32), shortest=_SOON),
            evolve(_ours(32), name=DEFAULT, watched=True),
        ),
        mean=2.0,
        slots=32,
    ),
    Scenario(
        name="T",
        title="the same photos, jobs of 10 ms: the client is the limit",
        album=LARGE,
        runs=_pair(32),
        mean=0.01,
        slots=32,
        scale=0.01,
    ),
    Scenario(
        name="L-beat",
        title="L, rows refreshed every 2.5 s, no progress",
        album=LARGE,
        runs=_pair(32),
        mean=2.0,
        slots=32,
        beat=2.5,
        progress=False,
    ),
    Scenario(
        name="S",
        title="2000 photos of 20 KB, 128 slots",
        album=SMALL,
        runs=_pair(128),
        mean=1.0,
        scale=0.125,
        slots=128,
        safely=True,
    ),
    Scenario(
        name="P",
        title="3 running, 10 queued, then refused; 64 wanted at once",
        album=evolve(SMALL, count=200),
        runs=(_ours(64),),
        mean=2.0,
        slots=3,
        queue=10,
        most_rounds=1,
    ),
)

_QUICK = {"X": 32, "X-TLS": 32, "L": 64, "T": 100, "L-beat": 64, "S": 400, "P": 40}


def quick(scenario: Scenario) -> Scenario:
    """Return the same with fewer photos; ratios of so few are rough."""
    return evolve(scenario, album=evolve(scenario.album, count=_QUICK[scenario.name]))
