"""
Orders: the jobs that a batch is to do, of any kind.

An order is a job request with the place of its results. The journal knows what its
pictures hold, not what they are called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import attrs

from ezlink_async._core.images import Image
from ezlink_async._core.messages import collapse_blanks
from ezlink_async.batch.pairs.output_paths import escape, output_path_for
from ezlink_async.batch.pairs.pictures import InMemory, Input, Picture, absolute
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.base import AnyRecord, JobRequest
from ezlink_async.services.face_swap import FaceSwap

_NAME = 60  # characters of a prompt that name its result

_HASH = re.compile(r'"[0-9a-f]{64}"')

_OPTIONS = "options"  # what the batch does to pictures before they are sent

AnyRequest = JobRequest[AnyRecord]

BY_PATHS = frozenset({FaceSwap.kind})
"""The kinds whose jobs are known by the paths of their pictures."""


def _pictures_of(order: Order) -> tuple[Picture, ...]:
    return tuple(each.path for each in order.inputs)


@attrs.frozen(kw_only=True)
class Order:
    """
    One job of a batch; :meth:`of` makes it of a job request.

    *wanted_path* is the path of the results: relative to the output folder, with
    ``/`` and without a suffix. *label* is its name for a person, *inputs* are its
    pictures with their roles, *problem* says why it cannot be done. *then* names
    buttons of its task, each of which is another job once this one is done.

    A job of the journal that this run has no order of has no *request*. *named* is
    the identity of a job whose request is not known before another one has ended.
    """

    kind: str
    request: AnyRequest | None
    wanted_path: str
    label: str
    inputs: tuple[Input, ...] = ()
    problem: str | None = None
    then: tuple[str, ...] = ()
    named: str | None = None
    pictures: tuple[Picture, ...] = attrs.field(
        default=attrs.Factory(_pictures_of, takes_self=True), eq=False, repr=False
    )

    @classmethod
    def of(
        cls,
        request: AnyRequest,
        *,
        output: str | None = None,
        then: Iterable[str] = (),
    ) -> Self:
        """
        Return the order of a job request.

        *output* is the path of its results below the output folder, without a
        suffix. Left out it is made of the prompt or of the name of the picture. *then*
        are labels of buttons: ``["U1", "V2"]``. :exc:`ConfigurationError` for a value
        that is no job request, or buttons that are no list.
        """
        if not isinstance(request, JobRequest):
            raise ConfigurationError(
                f"an order is made of a job request, not {type(request).__name__}"
            )
        given: object = then
        is_list = isinstance(given, Iterable) and not isinstance(given, str)
        buttons = tuple(then) if is_list else ()
        if not is_list or not all(isinstance(each, str) for each in buttons):
            raise ConfigurationError(f"then is a list of buttons, not {then!r:.200}")
        if not isinstance(output, str | None):
            raise ConfigurationError(f"output is a text, not {output!r:.200}")
        pictures = tuple(_picture(*each) for each in _roles(request))
        inputs = tuple(
            Input(role, _name(picture))
            for (role, _), picture in zip(_roles(request), pictures, strict=True)
        )
        return cls(
            kind=request.kind,
            request=request,
            wanted_path=_wanted_path(request, inputs) if output is None else output,
            label=_label(request, inputs),
            inputs=inputs,
            then=buttons,
            pictures=pictures,
        )

    @property
    def stored(self) -> tuple[Input, ...]:
        """The inputs as the journal has them: absolute paths, or bare names."""
        return tuple(
            each if isinstance(picture, InMemory) else _absolute(each)
            for each, picture in zip(self.inputs, self.pictures, strict=True)
        )

    @property
    def files(self) -> list[Path]:
        """The pictures that are files."""
        return [picture for picture in self.pictures if isinstance(picture, Path)]

    @property
    def shared(self) -> int:
        """How many of the first pictures are often those of the order before."""
        return 0 if self.request is None else self.request.shared

    @property
    def is_free(self) -> bool:
        """Whether its submit surely costs nothing."""
        if self.request is None or self.pictures or self.request.price:
            return False
        return self.request.job(()).is_free

    @property
    def is_in_memory(self) -> bool:
        """Whether the picture that no other order shares is held in memory."""
        return any(isinstance(each, InMemory) for each in self.pictures[self.shared :])

    @property
    def by_paths(self) -> bool:
        """Whether the paths of its pictures say whose result it is, not its request."""
        return self.kind in BY_PATHS

    @property
    def request_key(self) -> str:
        """What is known of the request without reading the pictures."""
        if self.by_paths or self.request is None:
            return request_key(self.kind, self.named or "")
        blank = ["0" * 64] * len(self.pictures)
        return request_key(self.kind, self.named or self.request.identity(blank))

    def identity(self, digests: Sequence[bytes], options: Mapping[str, object]) -> str:
        """
        Return all that changes the result, as canonical JSON.

        *digests* are the SHA-256 of the pictures, *options* say what is done to them
        before they are sent.
        """
        if self.named is not None or self.request is None:
            return self.named or "{}"
        said = self.request.identity([digest.hex() for digest in digests])
        if not options or not digests:
            return said
        known = json.loads(said)
        known[_OPTIONS] = options
        whole = {key: known[key] for key in sorted(known)}
        return json.dumps(whole, separators=(",", ":"), ensure_ascii=False)

    def prepared(self, images: Sequence[Image]) -> AnyRequest:
        """Return the request with its pictures as they are sent."""
        if self.request is None:
            raise ConfigurationError(f"{self.label} has no request")
        return self.request.with_pictures(images)


def request_key(kind: str, request: str) -> str:
    """Return :attr:`Order.request_key` for a job of the journal with this *request*."""
    if kind in BY_PATHS or not request:
        return kind
    known = json.loads(_HASH.sub('""', request))
    known.pop(_OPTIONS, None)
    return json.dumps([kind, known], sort_keys=True)


def _roles(request: AnyRequest) -> list[tuple[str, Image]]:
    """Return the pictures of *request*, each with the name of its field."""
    return [(name, Image.of(each)) for name, each in request.named_pictures()]


def _picture(role: str, image: Image) -> Picture:
    if (held := image.held) is not None:
        return InMemory(bytes(held), Path(role))
    return image.path or Path()


def _name(picture: Picture) -> Path:
    return picture.name if isinstance(picture, InMemory) else picture


def _absolute(given: Input) -> Input:
    return Input(given.role, absolute(given.path))


def _label(request: AnyRequest, inputs: Sequence[Input]) -> str:
    if _prompt(request) is None and inputs:
        return ", ".join(str(each.path) for each in inputs)
    return request.label


def _prompt(request: AnyRequest) -> str | None:
    prompt = getattr(request, "prompt", None)
    return prompt if isinstance(prompt, str) else None


def _wanted_path(request: AnyRequest, inputs: Sequence[Input]) -> str:
    """Return the path of a result that was not given one."""
    prompt = _prompt(request)
    if prompt is None and inputs:
        return output_path_for(Path(inputs[0].path.name))
    words = collapse_blanks(request.label if prompt is None else prompt)[:_NAME]
    return escape(words) or request.kind
