"""Tells results as they come, and at the end what there is to do about them."""

from __future__ import annotations

import time

from ezlink_async.cli.display import STYLES, Display, shown
from ezlink_async.cli.results import Result, Tally


class Teller:
    """Writes results to a display, as text or as one JSON object a line."""

    def __init__(self, display: Display, tally: Tally, *, as_json: bool) -> None:
        self._display = display
        self._tally = tally
        self._as_json = as_json
        self._started = time.monotonic()
        self._unknown: list[Result] = []
        self._left_over: dict[str, int] = {}

    def tell(self, result: Result) -> None:
        """Tell one result and count it."""
        self._tally.counts[result.status] += 1
        if result.status == "unknown":
            self._unknown.append(result)
        if result.status == "skipped" and result.error is not None:
            self._left_over[result.error] = self._left_over.get(result.error, 0) + 1
        if self._as_json:
            self._display.result(result.to_json())
        else:
            self._tell_text(result)
        self._display.count(self._tally)

    def _tell_text(self, result: Result) -> None:
        target = shown(result.target)
        if result.status == "succeeded":
            self._display.result(shown(result.output))
        elif result.status == "planned":
            self._display.result(f"send {target} -> {shown(result.output)}")
        elif result.status in STYLES and not result.doomed:
            says = f"{result.status}: {target}: {shown(result.error)}"
            self._display.note(says, STYLES[result.status])

    @property
    def exit_code(self) -> int:
        """0 when every target is done, in this run or before."""
        counts = self._tally.counts
        return int(bool(counts["failed"] or counts["unknown"] or self._left_over))

    def end(self) -> None:
        """Tell what is left to do, and the sum of all."""
        for why, many in self._left_over.items():
            self._display.note(f"{many} not sent: {shown(why)}", "yellow")
        if self._unknown:
            self._display.note(
                f"{len(self._unknown)} may have been paid, and are not sent again "
                "without --resubmit-unknown:",
                "yellow",
            )
        for result in self._unknown:
            known = result.request_id or "none"
            self._display.note(f"  {shown(result.target)} (request id: {known})")
        seconds = time.monotonic() - self._started
        if self._as_json:
            self._display.result(self._tally.to_json(seconds))
        else:
            self._display.note(f"{self._tally} in {seconds:.1f} s")
