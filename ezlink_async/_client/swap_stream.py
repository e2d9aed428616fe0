"""``swap_faces()``: targets or pairs as face swaps, in a stream of their outcomes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Generic, cast

import attrs

from ezlink_async._client.handle import FollowedHandle
from ezlink_async._client.job_stream import Intake, Items, JobStream
from ezlink_async._client.outcomes import SwapOutcome, TargetT_co
from ezlink_async._core.images import Image, ImageLike
from ezlink_async.errors import ConfigurationError, EzlinkError
from ezlink_async.models import TaskRecord
from ezlink_async.services.face_swap import FaceSwap, SwapOptions

Pair = tuple[ImageLike, ImageLike]

Targets = (
    Iterable[ImageLike]
    | AsyncIterable[ImageLike]
    | Iterable[Pair]
    | AsyncIterable[Pair]
)


class SwapStream(JobStream[SwapOutcome[TargetT_co]], Generic[TargetT_co]):
    """
    The outcomes of ``swap_faces()``, in the order in which swaps end.

    It is a :class:`JobStream`: leaving it stops the intake at once and cancels
    unsent swaps; accepted tasks stay in ``pending()``.
    """


def _check_targets(targets: object) -> None:
    if isinstance(targets, str | bytes) or not isinstance(
        targets, Iterable | AsyncIterable
    ):
        raise ConfigurationError(
            "targets is an iterable of pictures, such as Path('photos').glob('*.jpg')"
            f", not {type(targets).__name__}"
        )


class Swaps(Intake[Pair, SwapOutcome[ImageLike]]):
    """
    The pairs of ``swap_faces()``, from an iterable of targets or of pairs.

    *options* hold for all of them. *encode* is awaited with a source that all of
    them share, and returns it as each of them sends it.
    """

    name = "swap_faces"

    def __init__(
        self,
        source: ImageLike | None,
        targets: Targets,
        options: SwapOptions,
        encode: Callable[[ImageLike], Awaitable[Image]],
    ) -> None:
        _check_targets(targets)
        self._source = source
        self._shared: Image | None = None
        self._options = attrs.asdict(options, recurse=False)
        self._encode = encode
        self._items: Items[object] = Items(targets)

    async def ready(self) -> None:
        """Encode the source, so that a bad one sends nothing."""
        if self._source is not None:
            self._shared = await self._encode(self._source)

    async def take(self) -> Pair:
        """Take the next source and target."""
        item = await self._items.take()
        if self._source is not None:
            return self._source, cast("ImageLike", item)
        if not isinstance(item, tuple) or len(item) != 2:  # noqa: PLR2004 - a pair
            raise ConfigurationError(
                f"without a source, targets are (source, target) pairs, not {item!r}"
            )
        return cast("Pair", item)

    def request(self, given: Pair) -> FaceSwap:
        """Return the swap of this pair."""
        source, target = given
        return FaceSwap(self._shared or source, target, **self._options)

    def target(self, given: Pair) -> ImageLike:
        """Return the target as it was given."""
        return given[1]

    def label(self, given: Pair) -> str:
        """Return the target: its path, or the number of its bytes."""
        return repr(Image.of(given[1]))

    def outcome(
        self,
        given: Pair,
        handle: FollowedHandle[TaskRecord] | None,
        record: TaskRecord | None,
        error: EzlinkError | None,
    ) -> SwapOutcome[ImageLike]:
        """Return how the swap of this pair has ended."""
        return SwapOutcome(*given, handle, record, error)
