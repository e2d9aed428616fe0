"""Prints outcomes as they come, and at the end what the user can do about them."""

from __future__ import annotations

from ezlink_async.batch.journal.jobs import Reason
from ezlink_async.batch.outcomes import BatchOutcome
from ezlink_async.batch.spending import Charges
from ezlink_async.cli.display import STYLES, Display, Status, Tally, to_json
from ezlink_async.report.escaping import shown


class OutcomePrinter:
    """Counts outcomes and prints them, as text or as one JSON object a line."""

    def __init__(self, display: Display, tally: Tally, *, as_json: bool) -> None:
        self._display = display
        self._tally = tally
        self._as_json = as_json
        self._unknown: list[BatchOutcome] = []
        # By reason: the sentence may differ each time.
        self._in_the_way: dict[Reason | None, list[str]] = {}

    def print(self, outcome: BatchOutcome, status: Status | None = None) -> None:
        """Print one outcome and count it, as *status* if that is given."""
        status = status or outcome.status
        self._tally.counts[status] += 1
        if status == "unknown":
            self._unknown.append(outcome)
        elif outcome.error and (outcome.common or status == "skipped"):
            self._in_the_way.setdefault(outcome.reason, []).append(outcome.error)
        if self._as_json:
            self._display.result(to_json(outcome, status))
        else:
            self._print_text(outcome, status)
        self._display.update()

    def _print_text(self, outcome: BatchOutcome, status: Status) -> None:
        target = shown(outcome.target)
        if status == "succeeded":
            self._display.result(shown(outcome.output))
        elif status == "planned":
            self._display.result(f"send {target} -> {shown(outcome.output)}")
        elif status in STYLES and not outcome.common:
            # An error about the file itself names it once more.
            error = (outcome.error or "").replace(f" {outcome.target}: ", " ", 1)
            line = f"{status}: {target}: {shown(error)}"
            self._display.note(line, STYLES[status])

    @property
    def exit_code(self) -> int:
        """0 when every target is done, in this run or before, else 1."""
        counts = self._tally.counts
        return int(bool(counts["failed"] or counts["unknown"] or self._in_the_way))

    def finish(
        self, command: str | None = None, charges: Charges | None = None
    ) -> None:
        """
        Print what is left to do, the counts, and the *command* that resumes.

        *charges* is what the server charged, if that is known.
        """
        for sentences in self._in_the_way.values():
            line = f"{len(sentences)} not swapped: {shown(sentences[0])}"
            self._display.note(line, "yellow")
        if self._unknown:
            self._display.note(
                f"{len(self._unknown)} may have been paid; ask the service before you "
                "swap again (--resubmit-unknown swaps without asking):",
                "yellow",
            )
        for outcome in self._unknown:
            known = f" (request id: {outcome.request_id})" if outcome.request_id else ""
            self._display.note(f"  {shown(outcome.target)}{known}")
        if self._as_json:
            self._display.result(self._tally.to_json(charges))
        else:
            self._display.note(f"{self._tally} in {self._tally.seconds:.1f} s")
        if charges is not None:
            self._display.note(str(charges))
        if command is not None:
            self._display.note(f"resume with: {shown(command)}")
