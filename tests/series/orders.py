"""What a customer orders, and what became of it: values that travel as JSON."""

from __future__ import annotations

from collections.abc import Iterator

import aiohttp
import attrs

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy, Timeouts
from tests.series.photos import digest_of, photo

KEY = "sk-customer"
UNKNOWN = "SubmitUnknownError"


@attrs.frozen(kw_only=True)
class Order:
    """
    What to buy, and how: *count* photos of about *length* bytes, *slots* at once.

    *retry*, *poll* and *timeouts* are what differs from the defaults. A
    *timed* one looks at the clock through the hooks of a session of its own.
    With *lanes* that many customers order one by one, and pause *pauses*
    seconds between, the shortest and the longest.
    """

    url: str = ""
    count: int
    length: int
    slots: int = 8
    retry: dict[str, float] = attrs.field(factory=dict)
    poll: dict[str, float] = attrs.field(factory=dict)
    timeouts: dict[str, float] = attrs.field(factory=dict)
    timed: bool = False
    lanes: int = 0
    pauses: tuple[float, float] = (0.0, 0.0)

    def client(
        self, http: aiohttp.ClientSession | None = None, key: str = KEY
    ) -> AsyncEzlink:
        """Return the client to order with."""
        return AsyncEzlink(
            key,
            base_url=self.url,
            max_concurrency=self.slots,
            retry=RetryPolicy(**self.retry),  # type: ignore[arg-type]  # seconds only
            poll=PollPolicy(**self.poll),
            timeouts=Timeouts(**self.timeouts),
            http=http,
        )

    def photos(self) -> Iterator[bytes]:
        """Yield the photos to order, each when its turn comes."""
        return (photo(number, self.length) for number in range(self.count))

    def digests(self) -> set[str]:
        """Return the names of all photos."""
        return set(map(digest_of, self.photos()))


@attrs.frozen(kw_only=True)
class Bought:
    """
    How one photo ended: *right* when its own result came home.

    *began* and *ended* are when its submit did, for one of a lane: *key* is
    the customer's.
    """

    number: int
    error: str = ""
    says: str = ""
    request_id: str = ""
    right: bool = False
    key: str = KEY
    began: float = 0.0
    ended: float = 0.0


@attrs.frozen(kw_only=True)
class Receipt:
    """
    How all of them ended.

    *gaps* are the seconds from each "last byte left" to its answer, of a timed
    order; *dials* how often a connection was tried, *noise* how often asyncio
    complained of its own doing: see :mod:`tests.series.noise`; *losses* how often
    the client told of a lost connection.
    """

    bought: list[Bought]
    gaps: list[float] = attrs.field(factory=list)
    dials: int = 0
    noise: int = 0
    losses: int = 0
    seconds: float = 0.0

    @property
    def unknowns(self) -> list[Bought]:
        """The photos whose outcome is not known."""
        return [each for each in self.bought if each.error == UNKNOWN]

    @property
    def failures(self) -> list[str]:
        """What else went wrong, by name."""
        names = {each.error for each in self.bought} - {"", UNKNOWN}
        return sorted(names)
