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
    maybe_charged: int = 0
    source: Path | None = None
    portrait: Thumbnail | None = None
    """The thumbnail of the source, while there is only one source."""

    @property
    def total(self) -> int:
        """The number of photos."""
        return self.by_status.total()

    def add(self, photo: Photo, pictures: Pictures) -> None:
        """Count one photo."""
        if self.source is None:
            self.source, self.portrait = photo.source, pictures.source
        elif photo.source != self.source:
            self.portrait = None
        self.by_status[photo.status] += 1
        self.maybe_charged += photo.maybe_charged


def row(photo: Photo, pictures: Pictures, folder: Path) -> dict[str, object]:
    """Return the data of one photo for a page in *folder*, without empty values."""
    target = absolute(photo.target)
    after = pictures.after or Thumbnail()
    faults = {"before": pictures.before.fault, "after": after.fault}
    known: dict[str, object] = {
        "status": photo.status,
        "name": shown(target.name),
        "folder": shown(photo.target.parent),
        "before": pictures.before.stem,
        "after": after.stem,
        "face": pictures.source.stem,
        "source": shown(photo.source.name),
        "faults": {side: says for side, says in faults.items() if says},
        "original": address(target, folder),
        **_result(photo.output, folder),
        **_words(photo),
    }
    return {key: value for key, value in known.items() if value}


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
    name = markup(photo.target.name)
    error = markup(photo.error or "", lines=True)
    then = photo.next_step and f"<b>Next:</b> {markup(photo.next_step, lines=True)}"
    paid = _PAID if photo.maybe_charged else None
    words = " ".join(filter(None, [error, then, paid]))
    return f"<dt>{photo.status.capitalize()}: <bdi>{name}</bdi></dt><dd>{words}</dd>\n"
