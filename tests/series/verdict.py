"""What a series found: its figures on one line, and each promise it saw broken."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Container, Coroutine

import attrs

from tests.series.orders import Order, Receipt
from tests.series.photos import digest_of, photo
from tests.series.shop import Shop

Buy = Callable[[Order], Coroutine[object, object, Receipt]]


@attrs.frozen
class Edition:
    """How a series is run: over TLS or not, and where the client lives."""

    tls: ssl.SSLContext | None
    buy: Buy


@attrs.define
class Verdict:
    """Figures in the order in which they are printed, and what is broken."""

    figures: list[str] = attrs.field(factory=list)
    broken: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        end = "BROKEN: " + "; ".join(self.broken) if self.broken else "ok"
        return f"{', '.join(self.figures)}: {end}"

    def say(self, figure: str) -> None:
        """Add a figure."""
        self.figures.append(figure)

    def expect(self, promise: str, found: object, wanted: object) -> None:
        """Note a promise that was not kept."""
        if found != wanted:
            self.broken.append(f"{promise} ({found}, not {wanted})")

    def judge(
        self, receipt: Receipt, shop: Shop, order: Order, excused: Container[str]
    ) -> None:
        """
        Say how an order ended, and hold it against what is promised.

        Every photo comes home, but those that *excused* requests left unknown.
        None is made twice, and what came home is what was made.
        """
        home = [each.number for each in receipt.bought if each.right]
        failed = [each for each in receipt.bought if each.error in receipt.failures]
        self._count(receipt, shop, order, len(home), len(failed))
        self.expect("every photo ends", len(receipt.bought), order.count)
        self.expect(f"nothing fails {receipt.failures}", len(failed), 0)
        lost = [each for each in receipt.unknowns if each.request_id not in excused]
        self.expect("nothing is unknown without a cause", len(lost), 0)
        ended = len(home) + len(receipt.unknowns) + len(failed)
        self.expect("the others come home", ended, order.count)
        made = {digest_of(photo(number, order.length)) for number in home}
        self.expect("what came home was made", len(made - shop.whole.keys()), 0)
        twice = [name for name, times in shop.whole.items() if times > 1]
        self.expect("no photo is made twice", len(twice), 0)
        strange = shop.whole.keys() - order.digests()
        self.expect("only what was ordered is made", len(strange), 0)

    def _count(
        self, receipt: Receipt, shop: Shop, order: Order, home: int, failed: int
    ) -> None:
        self.say(f"{order.count} photos")
        self.say(f"{shop.begun} submits")
        self.say(f"{shop.whole.total()} whole")
        self.say(f"{home} home")
        self.say(f"{len(receipt.unknowns)} unknown")
        self.say(f"{failed} failed")
        self.say(f"{receipt.dials} dials")
        self.say(f"{receipt.seconds:.1f} s")
        if receipt.noise:
            self.say(f"asyncio complains {receipt.noise} times")
