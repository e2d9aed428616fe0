"""
What each family of the API implements: its job requests, its jobs and its tasks.

The sender, the poller, the journal and the command line are written against these
classes, so only a family's own module knows its wire. A *job request* is the value
that users make; with its pictures inspected it becomes a *job*, ready to be sent;
the server makes a *task* of it, which is known by its family and its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self

import attrs

from ezlink_async._core import long_texts
from ezlink_async._core.images import (
    EncodedImage,
    Image,
    ImageLike,
    InspectedImage,
)
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import TASK_DEADLINE, PollPolicy, Timeouts
from ezlink_async._core.records import dump_record, load_record
from ezlink_async.errors import ApiError
from ezlink_async.models import Record, Result, TaskRecord, TaskStatus
from ezlink_async.services.balance_bars import BalanceBar
from ezlink_async.services.endings import Ending, error_of, failure, modal_needed
from ezlink_async.services.leaves import Base64, mapped, pictures_in, text_length
from ezlink_async.services.traces import RowCount, Traces

if TYPE_CHECKING:
    # Defaults of type variables reach `typing` with Python 3.13; checkers know them.
    from typing_extensions import TypeVar

    R = TypeVar("R", bound=Record, default=TaskRecord)
else:
    from typing import TypeVar

    R = TypeVar("R", bound=Record)

AnyRecord = Any  # type: ignore[explicit-any]  # the classes of records share no base
"""The record of a task where those of all families are handled alike."""

NO_TASK = "0"
"""
An id that no task has, for :meth:`TaskFamily.fetch_request`.

401 or 403 in the answer proves that the key is refused.
"""

LoadedImage = InspectedImage | EncodedImage
"""A picture of a job: inspected, or also encoded when many jobs share it."""


_POLL, _TIMEOUTS = PollPolicy(), Timeouts()


@attrs.frozen(kw_only=True)
class PollTiming:
    """
    The pace of a family's tasks with the default policies; seconds.

    A task is polled *first* after acceptance, then in growing steps from *shortest*
    to *longest*, until *deadline*. The answer to a submit is waited for
    *submit_wait*, that to a query *query_wait*. A client whose
    :class:`PollPolicy` or :class:`Timeouts` differ from the defaults scales them
    alike. With *shares_queue* the tasks wait in one line and their rows are
    renewed in one beat, so the poller learns the times of some from others. With
    *new_connection* each query has a connection of its own.
    """

    first: float = 2.0
    shortest: float = 1.0
    longest: float = 10.0
    deadline: float = TASK_DEADLINE
    submit_wait: float = 90.0
    query_wait: float = 30.0
    shares_queue: bool = False
    new_connection: bool = False

    def policy(self, policy: PollPolicy) -> PollPolicy:
        """Return the policy of the family in a client with this *policy*."""
        return PollPolicy(
            first=policy.first * (self.first / _POLL.first),
            shortest=policy.shortest * (self.shortest / _POLL.shortest),
            longest=policy.longest * (self.longest / _POLL.longest),
            deadline=policy.deadline or self.deadline,
        )

    def submit_timeout(self, timeouts: Timeouts) -> float:
        """Return how long a client with these *timeouts* waits for acceptance."""
        return timeouts.submit * (self.submit_wait / _TIMEOUTS.submit)

    def query_timeout(self, timeouts: Timeouts) -> float:
        """Return how long a client with these *timeouts* waits for a query."""
        return timeouts.fetch * (self.query_wait / _TIMEOUTS.fetch)


@attrs.frozen
class Accepted:
    """
    The server's acceptance: it has the job and must not be sent it again.

    *record* is what the acceptance says of the task already. With *has_previews* the
    task has a picture before it is done, at the address of the finished one.
    *request_id* is the submit's, which the client adds.
    """

    task_id: str
    code: int
    description: str
    record: Record | None = None
    has_previews: bool = False
    request_id: str | None = None


class TaskFamily(Protocol[R]):
    """
    How the tasks of one family are fetched, read, judged and downloaded.

    Subclass it explicitly: all but *name*, *record_type*, :meth:`fetch_request`
    and :meth:`read` have defaults. The readers raise the error that an answer
    stands for: :exc:`TaskNotFoundError`, an :exc:`ApiError`, :exc:`ProtocolError`.
    """

    @property
    def name(self) -> str:
        """The name of the family in saved handles, journals and commands."""
        ...

    @property
    def record_type(self) -> type[R]:
        """The class of the records."""
        ...

    @property
    def timing(self) -> PollTiming:
        """How often tasks are polled, and how long answers are waited for."""
        return PollTiming()

    @property
    def traces(self) -> Traces:
        """What the account's pages show of a lost submit."""
        return Traces()

    @property
    def caution(self) -> str:
        """What a query by a bare id may cost, for a person to read; empty if none."""
        return ""

    @property
    def caution_at_end(self) -> str:
        """What following a bare id to its end may cost; empty if nothing."""
        return self.caution

    def fallback(self, task_id: str) -> str:
        """
        Return how else a person can ask for a task, and what that costs; or nothing.

        For servers that lack the query of this family, but have another one.
        """
        return ""

    @property
    def bars(self) -> tuple[BalanceBar, ...]:
        """The balances below which the server refuses jobs of the family."""
        return ()

    @property
    def list_limit(self) -> int:
        """The most ids of one list request; 0 when there is no such call."""
        return 0

    @property
    def list_from(self) -> int:
        """From how many due tasks on a list request is sent in place of fetches."""
        return 3

    def fetch_request(self, task_id: str, polls: int = 0) -> HttpRequest:
        """
        Ask for one task, after so many *polls* of it.

        :exc:`ConfigurationError` for an id that cannot stand in an address.
        """
        ...

    def read(self, response: HttpResponse, task_id: str) -> R:
        """Read the answer to :meth:`fetch_request`."""
        ...

    def list_request(self, task_ids: Sequence[str]) -> HttpRequest:
        """Ask for up to *list_limit* tasks."""
        raise self._without("list")

    def read_list(self, response: HttpResponse) -> dict[str, R]:
        """Read the answer to :meth:`list_request`; unknown ids are missing."""
        raise self._without("list")

    def judge(self, record: R, before: R | None) -> Ending | None:
        """
        Return how the task has ended, ``None`` while it goes on.

        *before* is the record of the poll before this one. A success without a
        result counts only the second time.
        """
        if record.status is TaskStatus.MODAL:
            return Ending(modal_needed(record))
        if not record.is_terminal:
            return None
        if record.status is TaskStatus.SUCCESS and not self.results(record):
            again = before is not None and before.status is TaskStatus.SUCCESS
            says = "succeeded, but without a result"
            return Ending(failure(record, says)) if again else None
        return Ending(error_of(record))

    def results(self, record: R) -> tuple[Result, ...]:
        """Return what is to be downloaded of a task that ended well."""
        return record.results

    def keyless_request(self, task_id: str) -> HttpRequest | None:
        """Ask for the only picture of a finished task without any key."""
        return None

    def has_previews(self, known: R | None) -> bool:
        """
        Return whether that picture may be there before the task is done.

        *known* is ``None`` for a task of which nothing but its id is known.
        """
        return False

    def found(self, task_id: str, known: R | None, url: str) -> R:
        """Return the record of a success whose picture :meth:`keyless_request` has."""
        raise self._without("keyless picture")

    def _without(self, call: str) -> NotImplementedError:
        return NotImplementedError(f"tasks of {self.name!r} have no {call}")

    def settling_request(self, record: R) -> HttpRequest | None:
        """
        Ask once more about a task that *record* has just ended well.

        Only where that settles its price, which each such request does: so it is sent
        once, and what it brings counts only if it brings results, too.
        """
        return None

    def renew(self, record: R) -> HttpRequest | None:
        """Ask for fresh addresses of a finished task, if that surely costs nothing."""
        return None

    def is_same(self, one: R, other: R) -> bool:
        """Return whether *other* is no change from *one* to a reader of updates."""
        return one == other

    def is_frozen(self, record: R) -> bool:
        """Return whether the server seems to renew the record no more."""
        return False

    def is_refunded(self, record: R | None) -> bool | None:
        """Return whether the server gives back what the task cost, if it is known."""
        return None

    def dump(self, record: R) -> dict[str, object]:
        """Return *record* as values that JSON can hold, without inline contents."""
        return dump_record(record)

    def load(self, saved: Mapping[str, object]) -> R:
        """Read what :meth:`dump` made; any exception when it is something else."""
        return load_record(self.record_type, saved)


class Job(Protocol[R]):
    """
    One paid call, ready to be sent; it knows its wire, not its sender.

    Subclass it explicitly: all but *family*, *label*, :meth:`request` and
    :meth:`read` have defaults.
    """

    @property
    def family(self) -> TaskFamily[R]:
        """The family of the task that the server makes of the job."""
        ...

    @property
    def label(self) -> str:
        """The job's name in log lines; never the bytes of a picture."""
        ...

    def request(self) -> HttpRequest:
        """Describe the submit; a new description for each call."""
        ...

    def read(self, response: HttpResponse) -> Accepted:
        """Read the answer to :meth:`request`, or raise the error it stands for."""
        ...

    @property
    def state(self) -> str | None:
        """The text that comes back in the records; it identifies a lost job."""
        return None

    @property
    def lane(self) -> str:
        """Jobs of one lane wait for room together; others pass them."""
        return self.family.name

    @property
    def is_free(self) -> bool:
        """Whether the submit costs nothing, so that a lost one is sent again."""
        return False

    @property
    def row_count(self) -> RowCount | None:
        """The question that finds a lost submit of this job with the key alone."""
        return None

    def pause_after(self, refusal: ApiError, refusals: int) -> float | None:
        """
        Return the seconds after which a refused job is sent again, ``None`` for not.

        *refusals* counts those so far, this one too. Nothing was charged.
        """
        return None


PICTURES = "pictures"
"""The key of a field's metadata that says: these are pictures to send."""

APART = "apart"
"""The key of a field's metadata that says: it does not change the result."""

_ABSENT: tuple[object, ...] = (None, (), [], "", {})


class JobRequest(Generic[R]):
    """
    One job as users ask for it: a frozen value that checks itself when it is made.

    A subclass is an attrs class; it has a *kind* and a *family*, and makes its
    job. A field with the metadata ``PICTURES`` holds a picture, a tuple of them, or a
    body with pictures among its leaves; one with ``APART`` (a state, a hook) does not
    change the result.
    """

    kind: ClassVar[str]
    """The name of this kind in manifests and journals."""

    shared: ClassVar[int] = 0
    """How many of the first pictures are often those of the job before."""

    distinct: ClassVar[bool] = False
    """Whether the server refuses two pictures with the same bytes."""

    further: ClassVar[str] = ""
    """The field with what has no field of its own, by name; empty without one."""

    @property
    def family(self) -> TaskFamily[R]:
        """The family of the task that the server makes of it."""
        raise NotImplementedError

    def job(self, pictures: tuple[LoadedImage, ...]) -> Job[R]:
        """Return the job, whose *pictures* are those of :meth:`pictures`, in order."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """A name for a person to read; never the bytes of a picture."""
        return self.kind

    @property
    def deadline(self) -> float | None:
        """Seconds from acceptance to the task's deadline; ``None``: the family's."""
        return None

    @property
    def price(self) -> int:
        """The server's default price in units, 500,000 to the dollar; 0 is free."""
        return 0

    @property
    def is_free(self) -> bool:
        """Whether its job is free, as :attr:`Job.is_free` says."""
        return False

    @property
    def text_length(self) -> int:
        """How many characters its texts have; JSON of many is work for a thread."""
        fields = attrs.fields(type(self))  # type: ignore[arg-type]
        return sum(text_length(getattr(self, field.name)) for field in fields)

    @property
    def bar(self) -> BalanceBar | None:
        """The balance below which the server refuses it, if that is no price."""
        return None

    @property
    def once(self) -> str | None:
        """A key under which one client submits only once; ``None``: no such rule."""
        return None

    @property
    def again(self) -> bool:
        """Whether another submit under the same key is meant."""
        return False

    def with_state(self, state: str | None) -> Self:
        """Return the same with this *state*, unless it has one or takes none."""
        if state is None or getattr(self, "state", "") is not None:
            return self
        return attrs.evolve(self, state=state)  # type: ignore[misc]

    def with_hook(self, url: str) -> Self:
        """Return the same with the hook *url*, unless it has one or takes none."""
        if not self.takes_hook:
            return self
        return attrs.evolve(self, notify_hook=url)  # type: ignore[misc]

    @property
    def takes_hook(self) -> bool:
        """Whether the field of its hook is there, and empty."""
        return getattr(self, "notify_hook", "") is None

    def pictures(self) -> tuple[ImageLike, ...]:
        """Return the pictures to send, in the order of the fields."""
        return tuple(picture for _, picture in self.named_pictures())

    def named_pictures(self) -> tuple[tuple[str, ImageLike], ...]:
        """Return the pictures to send, each with the name of its field."""
        return tuple(
            (name, picture)
            for name, value in self._picture_fields()
            for picture in pictures_in(value)
        )

    def with_pictures(self, pictures: Iterable[Image]) -> Self:
        """Return the same with these in place of those of :meth:`pictures`."""
        left = iter(pictures)
        changed = {
            name: mapped(value, lambda _: next(left), Base64)  # type: ignore[arg-type]
            for name, value in self._picture_fields()
        }
        return attrs.evolve(self, **changed) if changed else self  # type: ignore[misc]

    def identity(self, digests: Sequence[str]) -> str:
        """
        Return all that changes the result, as canonical JSON.

        Keys are sorted, absent fields left out, and each picture is replaced by its
        SHA-256 in lower-case hex: *digests*, in the order of :meth:`pictures`.
        """
        left = iter(digests)
        pictures = dict(self._picture_fields())
        said: dict[str, object] = {}
        for field in attrs.fields(type(self)):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.name in pictures:
                value = mapped(value, lambda _: next(left))
            if value not in _ABSENT and not field.metadata.get(APART):
                said[field.name] = getattr(value, "value", value)
        return canonical(said)

    def _picture_fields(self) -> Iterator[tuple[str, object]]:
        for field in attrs.fields(type(self)):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.metadata.get(PICTURES) and value is not None:
                yield field.name, value


def canonical(value: object) -> str:
    """Return *value* as JSON with sorted keys and no blanks."""
    return "".join(long_texts.write(value, canonical=True))
