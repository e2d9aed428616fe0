"""
Orders of any kind, listed in a file: JSON Lines, or CSV with a heading.

A row has the fields of its job request by their names, and ``kind``, ``output``,
``count`` and ``then`` beside them. A column ``set.NAME`` gives a field in a provider's
own words, to requests that take such.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import cast

import attrs

from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.orders import AnyRequest, Order
from ezlink_async.batch.pairs.output_paths import is_below, output_path_for
from ezlink_async.batch.pairs.reader import AnyPath
from ezlink_async.batch.pairs.rows import TABLES, is_path, read_rows, wrong
from ezlink_async.buttons import ButtonLookup
from ezlink_async.errors import ConfigurationError, ImageError
from ezlink_async.services.base import PICTURES
from ezlink_async.services.face_swap import FaceSwap
from ezlink_async.services.leaves import is_address
from ezlink_async.services.midjourney import Mode
from ezlink_async.services.registry import KINDS
from ezlink_async.services.values import json_or_text

_OWN = ("kind", "output", "count", "then")
"""The columns that are not the job request's."""

_SWAP = ("source", "target", "mode")
"""The fields of a swap that a row may have."""

_SET = "set."
"""The begin of the columns that are fields in the words of a provider."""

_NUMBER = re.compile(r"\b(int|float)\b")

_MOST = 10_000  # jobs of one row

_BOOLEANS = {"true": True, "false": False}


def read_manifest(path: AnyPath, *, kind: str | None = None) -> Iterator[Order]:
    """
    Yield the orders of the file at *path*; rows without a kind are of *kind*.

    A row has ``kind`` (``"imagine"``, ``"swap"``, ...) and the fields of that job
    request; pictures are paths that begin at the file's folder. ``output`` is a path
    below the output folder, ``count`` how many jobs to make of the row, and ``then`` a
    list of buttons to press on each. ``set.NAME`` is a field of the body in the words
    of a provider. In a file that ends with ``.csv`` or ``.tsv`` lists are separated by
    ``;``, an empty cell is an absent field, and a cell below ``set.NAME`` is JSON, or
    a text: one that begins like an object, a list or a text of JSON, and is none, is
    refused.

    All rows are checked before the first order is yielded:
    :exc:`ConfigurationError` names the line, and the field, that is wrong. Reads the
    file twice, in the memory of one row.
    """
    place = Path(path)
    if place.exists() and not place.is_file():
        raise ConfigurationError(f"the manifest {place} is no file that can be read")
    for _ in _orders(place, kind):
        pass
    yield from _orders(place, kind)


def _orders(path: Path, kind: str | None) -> Iterator[Order]:
    is_table = path.suffix.lower() in TABLES
    for number, row in read_rows(path, _wrong_column):
        if not isinstance(row, Mapping):
            raise wrong(path, number, "this is no object")
        try:
            yield from _of_row(path.parent, _Row(row, kind, is_table=is_table))
        except (ConfigurationError, ImageError) as error:
            raise wrong(path, number, str(error)) from None
        # The checks of a job request are for programs, which have a type checker.
        except (TypeError, ValueError, AttributeError) as error:
            raise wrong(path, number, f"a value cannot be used: {error}") from None


def _wrong_column(names: list[str]) -> str | None:
    """Return why a heading is wrong; ``None`` if every kind of job is known by it."""
    known = {*_OWN, *(name for kind in KINDS for name in _fields(kind))}
    if names and all(name in known or _set_name(name) for name in names):
        return None
    return f"the heading names columns such as {', '.join(sorted(known))}"


def _set_name(column: str) -> str:
    """Return the field of the body that a column sets; empty for another column."""
    return column[len(_SET) :] if column.startswith(_SET) else ""


@functools.cache
def _fields(kind: str) -> dict[str, attrs.Attribute[object]]:
    """Return the fields of a *kind* of job request that a row may have, by name."""
    found = {field.name: field for field in attrs.fields(KINDS[kind])}  # type: ignore[arg-type]
    if kind == FaceSwap.kind:
        return {name: found[name] for name in _SWAP}
    return found


class _Row:
    """One row: its kind, its own columns, and the fields of its job request."""

    def __init__(
        self, row: Mapping[str, object], kind: str | None, *, is_table: bool
    ) -> None:
        if None in row:
            raise ConfigurationError("it has more values than there are columns")
        absent = {None, ""} if is_table else {None}
        found = {
            name: value
            for name, value in row.items()
            if not (isinstance(value, str | None) and value in absent)
        }
        self._is_table = is_table
        self.kind = self._kind(found.pop("kind", kind))
        self.count = self._count(found.pop("count", 1))
        self.then = self._list(found.pop("then", []), "then")
        self.output = self._output(found.pop("output", None))
        more = {name: found.pop(name) for name in list(found) if _set_name(name)}
        self.fields = {name: self._value(name, found[name]) for name in found}
        if more:
            self._set(more)

    def _set(self, more: Mapping[str, object]) -> None:
        """Put the columns ``set.NAME`` into the field for what is further."""
        further = KINDS[self.kind].further
        if not further:
            raise ConfigurationError(f"{self.kind} has no field {next(iter(more))!r}")
        known = self.fields.get(further, {})
        if not isinstance(known, Mapping):
            raise ConfigurationError(f"{further} is an object, not {known!r:.80}")
        body = dict(known)
        for column, given in more.items():
            name = _set_name(column)
            if name in body:
                raise ConfigurationError(f"{name} is given twice")
            is_cell = self._is_table and isinstance(given, str)
            body[name] = json_or_text(str(given), column) if is_cell else given
        self.fields[further] = body

    def _kind(self, kind: object) -> str:
        if kind is None:
            raise ConfigurationError(f"a row needs a kind: {', '.join(sorted(KINDS))}")
        if not isinstance(kind, str) or kind not in KINDS:
            known = ", ".join(sorted(KINDS))
            raise ConfigurationError(f"the kind {kind!r:.80} is none of {known}")
        return kind

    def _count(self, count: object) -> int:
        if isinstance(count, str) and self._is_table:
            count = int(count) if count.isdecimal() else count
        if type(count) is not int or not 1 <= count <= _MOST:
            raise ConfigurationError(f"count is 1 to {_MOST:,}, not {count!r:.80}")
        if count > 1 and self.kind == FaceSwap.kind:
            raise ConfigurationError("a swap has no count: its result is the same")
        return count

    def _list(self, value: object, name: str) -> list[str]:
        if isinstance(value, str) and self._is_table:
            return [each.strip() for each in value.split(";") if each.strip()]
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return value
        raise ConfigurationError(f"{name} is a list of texts, not {value!r:.80}")

    def _output(self, output: object) -> str | None:
        if output is None:
            return None
        if not is_path(output) or not is_below(PurePosixPath(output)):
            raise ConfigurationError(
                f"the output {output!r:.200} is no path below the folder"
            )
        return output_path_for(Path(output))

    def _value(self, name: str, value: object) -> object:
        """Return the value of a field of the job request."""
        field = _fields(self.kind).get(name)
        if field is None:
            raise ConfigurationError(f"{self.kind} has no field {name!r:.80}")
        if not self._is_table or not isinstance(value, str):
            return value
        if "tuple" in str(field.type):
            return self._list(value, name)
        if "bool" in str(field.type):
            return _BOOLEANS.get(value.lower(), value)
        if _NUMBER.search(str(field.type)):
            return _number(value, name, is_whole="float" not in str(field.type))
        if name == KINDS[self.kind].further:
            raise ConfigurationError(
                f"{name} is an object: in a table each of its fields is a column, "
                "set.NAME"
            )
        return value


def _number(text: str, name: str, *, is_whole: bool) -> float:
    """Return the number in the cell of the field *name*."""
    try:
        return int(text) if is_whole else float(text)
    except ValueError:
        whole = "whole " if is_whole else ""
        raise ConfigurationError(
            f"{name} is a {whole}number, not {text!r:.80}"
        ) from None


def _of_row(folder: Path, row: _Row) -> Iterator[Order]:
    """Yield the orders of one row; pictures begin at *folder*."""
    for name, field in _fields(row.kind).items():
        if field.metadata.get(PICTURES) and name in row.fields:
            row.fields[name] = _in_folder(folder, row.fields[name], name)
        if field.default is attrs.NOTHING and name not in row.fields:
            raise ConfigurationError(f"{row.kind} needs the field {name!r}")
    order = _swap(row, folder) if row.kind == FaceSwap.kind else _order(row)
    yield order
    for number in range(2, row.count + 1):
        yield attrs.evolve(order, wanted_path=f"{order.wanted_path}-{number}")


def _order(row: _Row) -> Order:
    request: AnyRequest = KINDS[row.kind](**row.fields)
    if row.then and not issubclass(request.family.record_type, ButtonLookup):
        raise ConfigurationError(f"{row.kind} has no buttons to press: leave out then")
    return Order.of(request, output=row.output, then=row.then)


def _swap(row: _Row, folder: Path) -> Order:
    """Return the order of a swap, whose result lies like its target."""
    source, target = row.fields["source"], row.fields["target"]
    if not (isinstance(source, Path) and isinstance(target, Path)):
        raise ConfigurationError("source and target are one picture each")
    below = Path(target.name)
    if target.is_relative_to(folder) and ".." not in target.parts:
        below = target.relative_to(folder)
    pair = Pair(source, target, row.output or output_path_for(below))
    order = pair.order(Mode.parse(cast("str | None", row.fields.get("mode"))))
    return attrs.evolve(order, then=tuple(row.then))


def _in_folder(folder: Path, value: object, name: str) -> object:
    """Return a picture, or a list of them, by the path from *folder*; no address."""
    if isinstance(value, list):
        return tuple(_in_folder(folder, each, name) for each in value)
    if isinstance(value, Mapping) or is_address(value):
        return value
    if not is_path(value):
        raise ConfigurationError(f"{name} is a path of a picture, not {value!r:.200}")
    return folder / value
