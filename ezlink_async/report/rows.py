"""What one photo is in the page: a row of its data, and words where it failed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import attrs

from ezlink_async.report.escaping import absolute, address, markup, shown
from ezlink_async.report.models import Photo, Pictures, Status, Thumbnail

_PAID = "It may have been paid for."


@attrs.define
class Counts:
    """What has been counted while the photos went by."""

    counts: Counter[Status] = attrs.field(factory=Counter)
    maybe_charged: int = 0
    source: Path | None = None
    portrait: Thumbnail | None = None
    """The picture of the source, as long as there is only one."""

    @property
    def total(self) -> int:
        """How many there were."""
        return self.counts.total()

    def add(self, photo: Photo, pictures: Pictures) -> None:
        """Count one photo."""
        if self.source is None:
            self.source, self.portrait = photo.source, pictures.source
        elif photo.source != self.source:
            self.portrait = None
        self.counts[photo.status] += 1
        self.maybe_charged += photo.maybe_charged


def row(photo: Photo, pictures: Pictures, folder: Path) -> dict[str, object]:
    """Return the data of one photo for a page in *folder*, without what is empty."""
    target = absolute(photo.target)
    after = pictures.after or Thumbnail()
    faults = {"before": pictures.before.fault, "after": after.fault}
    known: dict[str, object] = {
        "status": photo.status,
        "name": shown(target.name),
        "folder": shown(str(photo.target.parent)),
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
    """Return where the result is; it has a link only if it is beside the page."""
    if output is None:
        return {}
    place = absolute(output)
    if not place.is_relative_to(folder):
        return {"saved": shown(str(output))}
    saved = shown(str(place.relative_to(folder)))
    return {"saved": saved, "result": address(place, folder)}


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
    """Return the line of a photo that did not end well, for a page without script."""
    name = markup(photo.target.name)
    says = markup(photo.error or "", lines=True)
    then = photo.next_step and f"<b>Next:</b> {markup(photo.next_step, lines=True)}"
    paid = _PAID if photo.maybe_charged else None
    words = " ".join(filter(None, [says, then, paid]))
    return f"<dt>{photo.status.capitalize()}: <bdi>{name}</bdi></dt><dd>{words}</dd>\n"
