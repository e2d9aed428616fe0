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
        # By the name of what is in the way; its sentence may differ each time.
        self._in_the_way: dict[str, list[str]] = {}

    def tell(self, result: Result) -> None:
        """Tell one result and count it."""
        self._tally.counts[result.status] += 1
        if result.status == "unknown":
            self._unknown.append(result)
        elif result.error and (result.told_once or result.status == "skipped"):
            name = result.error.partition(":")[0]
            self._in_the_way.setdefault(name, []).append(result.error)
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
        elif result.status in STYLES and not result.told_once:
            says = f"{result.status}: {target}: {shown(result.error)}"
            self._display.note(says, STYLES[result.status])

    @property
    def exit_code(self) -> int:
        """0 when every target is done, in this run or before."""
        counts = self._tally.counts
        return int(bool(counts["failed"] or counts["unknown"] or self._in_the_way))

    def end(self) -> None:
        """Tell what is left to do, and the sum of all."""
        for sentences in self._in_the_way.values():
            says = f"{len(sentences)} not swapped: {shown(sentences[0])}"
            self._display.note(says, "yellow")
        if self._unknown:
            self._display.note(
                f"{len(self._unknown)} may have been paid; ask before you swap again:",
                "yellow",
            )
        for result in self._unknown:
            known = f" (request id: {result.request_id})" if result.request_id else ""
            self._display.note(f"  {shown(result.target)}{known}")
        seconds = time.monotonic() - self._started
        if self._as_json:
            self._display.result(self._tally.to_json(seconds))
        else:
            self._display.note(f"{self._tally} in {seconds:.1f} s")
