"""The options that every command with jobs takes, declared once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import attrs
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from ezlink_async._core.policies import RetryPolicy
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.pairs.output_paths import why_not_writable
from ezlink_async.cli import typed
from ezlink_async.cli.connect import Connection, Faces, check_connection
from ezlink_async.cli.order_list import OrderList
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.values import json_or_text

SWITCH: Parameter = Parameter(negative=(), show_default=False)
"""An option without a value, which is off by default."""

FIELDS: Parameter = Parameter(("--set",), negative=(), show_default=False)
"""The option ``--set KEY=JSON``, which may be repeated."""

_Count = Parameter(validator=Number(gte=1))

_Seconds = Parameter(validator=Number(gt=0))

_FIELD = re.compile(r"(\w+)(?:\['(\w+)'\])?")  # that a sentence is about

_GROUP = Group("Options of every job", sort_key=50)


@Parameter(name="*", group=_GROUP)
@attrs.frozen(kw_only=True)
class JobOptions(Connection):
    """
    The options of a run, whichever jobs it has.

    Attributes
    ----------
    output
        Folder for the results; made when it is missing.
    manifest
        A file that lists the jobs, in place of arguments: JSON Lines, or CSV with
        a heading.
    local
        Use the built-in server and engine: no key, no network, no cost.
    base_url
        Address of the API. [env: EZLINK_BASE_URL]
    concurrency
        Jobs in progress at one time. [env: EZLINK_MAX_CONCURRENCY]
        [default: 8; with --local two more than processors]
    deadline
        Seconds a task may take, once accepted. [env: EZLINK_POLL_DEADLINE]
        [default: 900; in relax mode 3900; of a video 3600, of image 1800, of flux
        1200]
    existing
        What to do where another picture is there already.
    dry_run
        List what would be sent, and send nothing.
    yes
        Do not ask before a run that pays for more than 100 jobs, pays again, or
        looks like a mistake. A script is never asked.
    fresh
        Begin anew: forget earlier runs, replace what is there, and pay again.
        Refused while a paid result is not saved.
    retry_failed
        Send again what the server called a failure in an earlier run.
    resubmit_unknown
        Send again what may have been paid already; it may be paid twice.
    max_failures
        Send nothing more after this many failures.
    budget
        Pay for at most this many jobs in this run.
    strip_metadata
        Send pictures without position, names and thumbnails.
    json
        Print one JSON object a line.
    quiet
        Print results and problems, and nothing else.
    report
        Write report.html into the folder of the results.

    """

    output: Annotated[Path, Parameter(("--output", "-o"))]
    manifest: Path | None = None
    local: Annotated[bool, SWITCH] = False
    base_url: str | None = None
    concurrency: Annotated[int | None, _Count] = None
    deadline: Annotated[float | None, _Seconds] = None
    existing: Literal["skip", "replace"] = "skip"
    dry_run: Annotated[
        bool, Parameter(("--dry-run", "-n"), negative=(), show_default=False)
    ] = False
    fresh: Annotated[bool, SWITCH] = False
    yes: Annotated[
        bool, Parameter(("--yes", "-y"), negative=(), show_default=False)
    ] = False
    retry_failed: Annotated[bool, SWITCH] = False
    resubmit_unknown: Annotated[bool, SWITCH] = False
    max_failures: Annotated[int | None, _Count] = None
    budget: Annotated[int | None, _Count] = None
    strip_metadata: Annotated[bool, SWITCH] = False
    json: Annotated[bool, SWITCH] = False
    quiet: Annotated[
        bool, Parameter(("--quiet", "-q"), negative=(), show_default=False)
    ] = False
    report: bool = True

    def adapt(self, retry: RetryPolicy) -> RetryPolicy:
        """Return *retry* with the wish to send unknown submits again."""
        again = retry.resubmit_unknown or self.resubmit_unknown
        return attrs.evolve(super().adapt(retry), resubmit_unknown=again)

    def check(self) -> None:
        """Raise ConfigurationError for options that no run can have. Sends nothing."""
        if blocked := why_not_writable(self.output):
            raise ConfigurationError(f"results cannot go to {self.output}: {blocked}")
        if not self.dry_run:
            check_connection(self, ", or try --local, which needs none")

    def batch_options(self, orders: OrderList, faces: Faces) -> BatchOptions:
        """Return how to do the batch; no result may replace a picture of an order."""
        return BatchOptions(
            output=self.output,
            existing="replace" if self.fresh else self.existing,
            retry_failed=self.retry_failed,
            resubmit_unknown=self.resubmit_unknown,
            max_failures=self.max_failures,
            budget=self.budget,
            strip_metadata=self.strip_metadata,
            local=self.local,
            faces=faces,
            is_given=orders.is_given,
            command=typed.get(),
        )


def check_alone(options: JobOptions, given: object, own: object) -> None:
    """Raise ConfigurationError for arguments, or *own* options, beside a manifest."""
    if options.manifest is None:
        return
    if given or own != type(own)():
        raise ConfigurationError(
            "a manifest lists the jobs with all that is theirs: give no other "
            "arguments, and no options of single jobs"
        )


def read_fields(given: Iterable[str]) -> dict[str, object]:
    """
    Return the fields that ``--set KEY=JSON`` names.

    A value that is no JSON is a text, but for one that begins like an object, a list
    or a text of JSON. Raises ConfigurationError for that, and for a key that is missing
    or named twice.
    """
    fields: dict[str, object] = {}
    for each in given:
        key, sign, text = each.partition("=")
        if not key or not sign:
            raise ConfigurationError(f"--set takes KEY=JSON, not {each!r:.80}")
        if key in fields:
            raise ConfigurationError(f"--set names {key!r:.80} twice")
        fields[key] = json_or_text(text, f"the value of --set {key}")
    return fields


@contextmanager
def named_as(**options: str) -> Iterator[None]:
    """
    Let the errors of a job request name *options*, by the field each of them fills.

    A ConfigurationError that is raised within, and begins with a field of the library,
    begins with the option in its place.
    """
    try:
        yield
    except ConfigurationError as error:
        found = _FIELD.match(str(error))
        if found is None or found[1] not in options:
            raise
        inner = f" {found[2]}" if found[2] else ""
        rest = str(error)[found.end() :]
        raise ConfigurationError(f"{options[found[1]]}{inner}{rest}") from None
