"""Prints outcomes as they come, and at the end what the user can do about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

from ezlink_async.batch.journal.jobs import Reason
from ezlink_async.batch.outcomes import BatchOutcome
from ezlink_async.batch.pairs.output_paths import TEXT_SUFFIX
from ezlink_async.batch.spending import Charges
from ezlink_async.cli.display import STYLES, Display
from ezlink_async.cli.tally import Kind, Tally, kind_of
from ezlink_async.report.escaping import shown

_SWAP_KEYS = ("target", "output", "task_id", "status", "error", "maybe_charged")
_KEYS = ("kind", "label", "output", "outputs", *_SWAP_KEYS[2:], "text")


def to_json(outcome: BatchOutcome, kind: Kind) -> str:
    """Return the line that ``--json`` prints."""
    keys = _SWAP_KEYS if outcome.is_swap else _KEYS
    row = {name: getattr(outcome, name) for name in keys}
    if kind is Kind.PLANNED:
        row["status"] = str(kind)
    return json.dumps(row, default=str)


_NAMED = 5  # pictures that are named at the end, too


class OutcomePrinter:
    """
    Counts outcomes and prints them, as text or as one JSON object a line.

    *advice* returns what to do about unknown ones of some kinds.
    """

    def __init__(
        self,
        display: Display,
        tally: Tally,
        advice: Callable[[Collection[str]], str],
        *,
        as_json: bool,
    ) -> None:
        self._advice = advice
        self._display = display
        self._tally = tally
        self._as_json = as_json
        self._unknown: list[BatchOutcome] = []
        self._unusable: list[str] = []  # the first ones
        # By reason, as the sentence may differ each time; or by the broken source.
        self._in_the_way: dict[str | None, list[str]] = {}

    def print(self, outcome: BatchOutcome, kind: Kind | None = None) -> None:
        """Print one outcome and count it, as *kind* if that is given."""
        kind = kind or kind_of(outcome)
        self._tally.add(outcome, kind)
        if kind is Kind.UNUSABLE and len(self._unusable) < _NAMED:
            name = outcome.target.name if outcome.is_swap else outcome.label
            self._unusable.append(name)
        if kind is Kind.UNKNOWN:
            self._unknown.append(outcome)
        elif outcome.error and (outcome.common or kind is Kind.LEFT):
            is_source = outcome.reason is Reason.UNUSABLE
            cause = outcome.error if is_source else outcome.reason
            self._in_the_way.setdefault(cause, []).append(outcome.error)
        if self._as_json:
            self._display.result(to_json(outcome, kind))
        else:
            self._print_text(outcome, kind)
        self._display.update()

    def _print_text(self, outcome: BatchOutcome, kind: Kind) -> None:
        name = shown(outcome.name)
        is_text = outcome.output is not None and outcome.output.suffix == TEXT_SUFFIX
        if is_text and outcome.text and kind in {Kind.SUCCEEDED, Kind.DONE}:
            self._display.inform(f"{shown(outcome.output)}:")
            self._display.result(shown(outcome.text, lines=True))
        elif kind is Kind.SUCCEEDED:
            for output in outcome.outputs or (outcome.output,):
                self._display.result(shown(output))
        elif kind is Kind.PLANNED:
            self._display.result(f"send {name} -> {shown(outcome.output)}")
        elif kind in STYLES and not outcome.common:
            # An error about the file itself names it once more.
            error = (outcome.error or "").replace(f" {outcome.name}: ", " ", 1)
            self._display.note(f"{kind}: {name}: {shown(error)}", STYLES[kind])

    @property
    def exit_code(self) -> int:
        """0 when every order is done, in this run or before, else 1."""
        kinds = self._tally.kinds
        undone = (
            kinds[Kind.FAILED]
            + kinds[Kind.UNUSABLE]
            + kinds[Kind.UNKNOWN]
            + kinds[Kind.RUNNING]
        )
        return int(bool(undone or self._in_the_way))

    def finish(
        self, command: str | None = None, charges: Charges | None = None
    ) -> None:
        """
        Print what is left to do, the counts, and the *command* that resumes.

        *charges* is what the server charged, if that is known.
        """
        self._print_left_over()
        self._print_unknown()
        if self._as_json:
            self._display.result(self._tally.to_json(charges))
        else:
            self._display.inform(f"{self._tally} in {self._tally.seconds:.1f} s")
        if charges is not None:
            self._display.inform(str(charges))
        if command is not None:
            self._display.note(f"resume with: {shown(command)}")

    def _print_left_over(self) -> None:
        for sentences in self._in_the_way.values():
            line = f"{len(sentences):,} not done: {shown(sentences[0])}"
            self._display.note(line, "yellow")
        if many := self._tally.kinds[Kind.UNUSABLE]:
            names = ", ".join(map(shown, self._unusable))
            more = ", ..." if many > _NAMED else ""
            self._display.note(
                f"{many:,} cannot be used ({names}{more}): mend them or give other "
                "pictures; a rerun alone changes nothing",
                "yellow",
            )
        if running := self._tally.kinds[Kind.RUNNING]:
            them = "it" if running == 1 else "them"
            self._display.note(
                f"{running:,} still running at the server; the next run fetches {them}"
            )

    def _print_unknown(self) -> None:
        if not self._unknown:
            return
        line = f"{len(self._unknown):,} may have been paid, their answers are lost:"
        self._display.note(line, "yellow")
        for outcome in self._unknown:
            known = f" (request id: {outcome.request_id})" if outcome.request_id else ""
            self._display.note(f"  {shown(outcome.name)}{known}")
        kinds = {outcome.kind for outcome in self._unknown}
        self._display.note(f"to find out: {self._advice(kinds)}", "yellow")
