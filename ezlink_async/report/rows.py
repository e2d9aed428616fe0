"""One photo in the page: a row of data for the script, and a line if it failed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import attrs

from ezlink_async.report.escaping import absolute, address, markup, shown
from ezlink_async.report.models import Photo, Pictures, Status, Thumbnail

_PAID = "It may have been paid for."


@attrs.define
class Counts:
    """The counts of the photos so far."""

    by_status: Counter[Status] = attrs.field(factory=Counter)
    others: int = 0
    """The number of jobs that are no swaps."""
    maybe_charged: int = 0
    source: Path | None = None
    portrait: Thumbnail | None = None
    """The thumbnail of the source, while there is only one source."""

    @property
    def total(self) -> int:
        """The number of photos."""
        return self.by_status.total()

    @property
    def noun(self) -> str:
        """What one of them is called."""
        return "job" if self.others else "photo"

    def add(self, photo: Photo, pictures: Pictures) -> None:
        """Count one photo."""
        if not photo.is_swap:
            self.others += 1
        elif self.source is None:
            self.source, self.portrait = photo.source, pictures.source
        elif photo.source != self.source:
            self.portrait = None
        self.by_status[photo.status] += 1
        self.maybe_charged += photo.maybe_charged


def row(photo: Photo, pictures: Pictures, folder: Path) -> dict[str, object]:
    """Return the data of one photo for a page in *folder*, without empty values."""
    after = pictures.after or Thumbnail()
    faults = {"before": pictures.before.fault, "after": after.fault}
    what = _swapped if photo.is_swap else _made
    known: dict[str, object] = {
        "status": photo.status,
        "before": pictures.before.stem,
        "after": after.stem,
        "faults": {side: says for side, says in faults.items() if says},
        **what(photo, pictures, folder),
        **_result(photo.output, folder),
        **_words(photo),
    }
    return {key: value for key, value in known.items() if value}


def _swapped(photo: Photo, pictures: Pictures, folder: Path) -> dict[str, object]:
    """Return what a swap is about."""
    target = absolute(photo.target)
    return {
        "name": shown(target.name),
        "folder": shown(photo.target.parent),
        "face": pictures.source.stem,
        "source": shown(photo.source.name),
        "original": address(target, folder),
    }


def _made(photo: Photo, pictures: Pictures, folder: Path) -> dict[str, object]:
    """Return what a job of another kind is about, and all that it made."""
    files = [_result(each, folder) for each in photo.outputs]
    return {
        "name": shown(photo.label),
        "folder": shown(photo.kind),
        "kind": shown(photo.kind),
        "given": [each.stem for each in pictures.given if each.stem],
        "strip": [each.stem for each in pictures.strip if each.stem],
        "inputs": [_input(each, folder) for each in photo.inputs],
        "files": files if len(files) > 1 else [],
        "text": _text(photo.text),
    }


def _input(picture: Path, folder: Path) -> dict[str, object]:
    path = absolute(picture)
    return {"name": shown(path.name), "address": address(path, folder)}


def _result(output: Path | None, folder: Path) -> dict[str, object]:
    """Return the path of the result, with a link only if it is in *folder*."""
    if output is None:
        return {}
    path = absolute(output)
    if not path.is_relative_to(folder):
        return {"saved": shown(output)}
    saved = shown(path.relative_to(folder))
    return {"saved": saved, "result": address(path, folder)}


def _words(photo: Photo) -> dict[str, object]:
    return {
        "error": _text(photo.error),
        "next": _text(photo.next_step),
        "task": _text(photo.task_id),
        "request": _text(photo.request_id),
        "paid": photo.maybe_charged,
        "seconds": photo.seconds and round(photo.seconds, 1),
        "changes": [shown(change) for change in photo.changes],
    }


def _text(text: str | None) -> str | None:
    return text and shown(text, lines=True)


def failure_line(photo: Photo) -> str:
    """Return the line of a failed photo, for a page without JavaScript."""
    name = markup(photo.name)
    error = markup(photo.error or "", lines=True)
    then = photo.next_step and f"<b>Next:</b> {markup(photo.next_step, lines=True)}"
    paid = _PAID if photo.maybe_charged else None
    words = " ".join(filter(None, [error, then, paid]))
    return f"<dt>{photo.status.capitalize()}: <bdi>{name}</bdi></dt><dd>{words}</dd>\n"
