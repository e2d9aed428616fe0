"""Tells outcomes as they come, and at the end what there is to do about them."""

from __future__ import annotations

import time

from ezlink_async.batch.journal.jobs import Reason
from ezlink_async.batch.outcomes import BatchOutcome
from ezlink_async.batch.spending import Charges
from ezlink_async.cli.display import STYLES, Display, Status, Tally, shown, to_json


class Teller:
    """Writes outcomes to a display, as text or as one JSON object a line."""

    def __init__(self, display: Display, tally: Tally, *, as_json: bool) -> None:
        self._display = display
        self._tally = tally
        self._as_json = as_json
        self._started = time.monotonic()
        self._seconds: float | None = None
        self._unknown: list[BatchOutcome] = []
        # By reason: the sentence may differ each time.
        self._in_the_way: dict[Reason | None, list[str]] = {}

    def tell(self, outcome: BatchOutcome, status: Status | None = None) -> None:
        """Tell one outcome and count it, as *status* if that is another word."""
        status = status or outcome.status
        self._tally.counts[status] += 1
        if status == "unknown":
            self._unknown.append(outcome)
        elif outcome.error and (outcome.common or status == "skipped"):
            self._in_the_way.setdefault(outcome.reason, []).append(outcome.error)
        if self._as_json:
            self._display.result(to_json(outcome, status))
        else:
            self._tell_text(outcome, status)
        self._display.count(self._tally)

    def _tell_text(self, outcome: BatchOutcome, status: Status) -> None:
        target = shown(outcome.target)
        if status == "succeeded":
            self._display.result(shown(outcome.output))
        elif status == "planned":
            self._display.result(f"send {target} -> {shown(outcome.output)}")
        elif status in STYLES and not outcome.common:
            # An error about the file itself names it once more.
            error = (outcome.error or "").replace(f" {outcome.target}: ", " ", 1)
            says = f"{status}: {target}: {shown(error)}"
            self._display.note(says, STYLES[status])

    @property
    def exit_code(self) -> int:
        """0 when every target is done, in this run or before."""
        counts = self._tally.counts
        return int(bool(counts["failed"] or counts["unknown"] or self._in_the_way))

    def stop(self) -> None:
        """Take the time: what comes now is no work of the run."""
        self._seconds = time.monotonic() - self._started

    def end(self, again: str | None = None, charges: Charges | None = None) -> None:
        """
        Tell what is left to do, the sum of all, and the command to go on with.

        *charges* is what the server charged, where that is known.
        """
        for sentences in self._in_the_way.values():
            says = f"{len(sentences)} not swapped: {shown(sentences[0])}"
            self._display.note(says, "yellow")
        if self._unknown:
            self._display.note(
                f"{len(self._unknown)} may have been paid; ask before you swap again "
                "(--resubmit-unknown does):",
                "yellow",
            )
        for outcome in self._unknown:
            known = f" (request id: {outcome.request_id})" if outcome.request_id else ""
            self._display.note(f"  {shown(outcome.target)}{known}")
        if self._seconds is None:
            self.stop()
        seconds = self._seconds or 0.0
        if self._as_json:
            self._display.result(self._tally.to_json(seconds, charges))
        else:
            self._display.note(f"{self._tally} in {seconds:.1f} s")
        if charges is not None:
            self._display.note(str(charges))
        if again is not None:
            self._display.note(f"go on with: {shown(again)}")
