"""
The HTML of the page: a template, and the text for each of its placeholders.

The page is made in pieces, so that a page of any length needs little memory.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources

from ezlink_async._io.files import OWN_FOLDER
from ezlink_async.report.escaping import markup
from ezlink_async.report.models import MEANINGS, Facts, Status
from ezlink_async.report.rows import Counts

_SWAP_OR_JOB = {"photo": "swap", "job": "job"}

_MINUTE = 60

_HOUR = 60 * _MINUTE

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def photos(number: int, noun: str = "photo") -> str:
    """Return a number of photos, or of jobs, in words."""
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def meaning(status: Status, noun: str) -> str:
    """Return what a status means for photos, or for jobs."""
    says = MEANINGS[status].replace("the swap", f"the {_SWAP_OR_JOB[noun]}")
    return says.replace("photo", noun)


def lasted(seconds: float) -> str:
    """Return a duration in its two largest units."""
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    minutes = round(whole / _MINUTE)
    return f"{minutes // 60:,} h {minutes % 60} min"


def day(moment: dt.datetime) -> str:
    """Return a date in English; `strftime` uses the language of the system."""
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


def span(started: dt.datetime, finished: dt.datetime) -> str:
    """Return the start, the end and the time zone."""
    end = f"{finished:%H:%M}"
    if finished.date() != started.date():
        end = f"{day(finished)}, {end}"
    return f"{day(started)}, {started:%H:%M} – {end} ({started.tzname()})"


ASSETS = f"{OWN_FOLDER}/report"
"""The folder of the thumbnails, relative to the page; the template has it too."""

_SCRIPTS = ("data.js", "list.js", "cards.js", "view.js", "page.js")

_PLACEHOLDER = re.compile(r"<!--\{(\w+)\}-->")

_WIDTH = 1000  # of the bar, in units of its own

_LEAST = 6  # units for the smallest share, so that one failure is visible


def page(
    facts: Facts, counts: Counts, troubles: Iterable[str], rows: Iterable[str]
) -> Iterator[str]:
    """Yield the page in pieces; *troubles* and *rows* are markup already."""
    style, script = _asset("page.css"), _script()
    parts: Mapping[str, Iterable[str]] = {
        "policy": [_policy(style, script)],
        "title": [markup(facts.title)],
        "style": [style],
        "head": [_head(facts, counts)],
        "bar": [_bar(counts)],
        "asides": [_asides(facts, counts)],
        "filters": [_filters(counts)],
        "troubles": troubles,
        "assets": [ASSETS],
        "noun": [counts.noun],
        "Noun": [counts.noun.capitalize()],
        "rows": rows,
        "script": [script],
    }
    for number, piece in enumerate(_PLACEHOLDER.split(_asset("page.html"))):
        if number % 2:
            yield from parts[piece]
        else:
            yield piece


def _asset(name: str) -> str:
    return (resources.files("ezlink_async.report") / "assets" / name).read_text(
        encoding="utf-8"
    )


def _script() -> str:
    """Return the parts of the script, joined in one function."""
    return f'(() => {{"use strict";{"".join(map(_asset, _SCRIPTS))}}})();'


def _policy(style: str, script: str) -> str:
    """Return the policy: only this script, this style and pictures may load."""
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        "img-src 'self' file: data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _head(facts: Facts, counts: Counts) -> str:
    return (
        f"{_portrait(counts)}<div><h1>{markup(facts.title)}</h1>"
        f'<p class="sum">{_sum(counts)}</p>'
        f"{_times(facts)}</div>"
    )


def _times(facts: Facts) -> str:
    """Return when the batch was made and how long it took, and so the last run."""
    runs = f" in {facts.runs:,} runs" if facts.runs > 1 else ""
    all_runs = f"{_when(facts.started, facts.finished, facts.seconds)}{runs}"
    if (last := facts.last_run) is None:
        return f'<p class="when">{all_runs}</p>'
    return (
        f'<p class="when">{all_runs}<br>'
        f"Last run: {_when(last.started, last.finished, last.seconds)}</p>"
    )


def _when(started: dt.datetime, finished: dt.datetime, seconds: float) -> str:
    return f"{markup(span(started, finished))} · {lasted(seconds)}"


def _sum(counts: Counts) -> str:
    good = counts.by_status["succeeded"]
    if good == counts.total > 1:
        return f"All <strong>{good:,}</strong> {counts.noun}s succeeded"
    total = photos(counts.total, counts.noun)
    return f"<strong>{good:,}</strong> of {total} succeeded"


def _portrait(counts: Counts) -> str:
    """Return the picture of the only source; with several, each photo shows its own."""
    if counts.source is None or counts.portrait is None or not counts.portrait.stem:
        return ""
    name = markup(counts.source.name)
    return (
        f'<figure><img src="{ASSETS}/{counts.portrait.stem}-s.jpg" alt="">'
        f"<figcaption>Source<bdi>{name}</bdi></figcaption></figure>"
    )


def _bar(counts: Counts) -> str:
    """Return the shares as SVG, since the policy forbids style attributes."""
    present = [status for status in MEANINGS if counts.by_status[status]]
    room = _WIDTH - _LEAST * len(present)
    drawn, left = "", 0.0
    for status in present:
        width = _LEAST + room * counts.by_status[status] / counts.total
        drawn += f'<rect class="{status}" x="{left:.2f}" width="{width:.2f}"/>'
        left += width
    return drawn


def _asides(facts: Facts, counts: Counts) -> str:
    notes = "".join(f"<p>{markup(note, lines=True)}</p>" for note in facts.notes)
    warned = " warned" if counts.maybe_charged else ""
    return (
        _aside("Payment", _payment(facts, counts), warned)
        + _aside("To go on", _command(facts))
        + _aside("Notes", notes)
    )


def _aside(title: str, body: str, kind: str = "") -> str:
    if not body:
        return ""
    return f'<section class="aside{kind}"><h2>{title}</h2>{body}</section>'


def _payment(facts: Facts, counts: Counts) -> str:
    body = ""
    if counts.maybe_charged:
        have = "has" if counts.maybe_charged == 1 else "have"
        these = photos(counts.maybe_charged, counts.noun)
        body = (
            f"<p><strong>{these}</strong> may have been paid "
            f"for and {have} no result here. Each is marked.</p>"
        )
    if facts.charged_note:
        body += f"<p>{markup(facts.charged_note, lines=True)}</p>"
    if facts.last_run is not None and facts.last_run.charged_note:
        note = markup(facts.last_run.charged_note, lines=True)
        body += f"<p>Last run: {note}</p>"
    return body


def _command(facts: Facts) -> str:
    if not facts.command:
        return ""
    return (
        '<div class="command">'
        f'<code id="command" tabindex="0">{markup(facts.command)}</code>'
        '<button type="button" id="copy" class="scripted">Copy</button></div>'
    )


def _filters(counts: Counts) -> str:
    everything = "In the order they were given."
    choices = [_choice("all", counts.total, everything, "checked")]
    choices += [
        _choice(status, counts.by_status[status], meaning(status, counts.noun))
        for status in MEANINGS
    ]
    return "".join(choices)


def _choice(value: Status | str, count: int, says: str, checked: str = "") -> str:
    zero = "" if count else " zero"
    return (
        f'<label class="{value}{zero}">'
        f'<input type="radio" name="status" value="{value}" '
        f'data-meaning="{markup(says)}" {checked}>'
        f"<span>{value.capitalize()} <b>{count:,}</b></span></label>"
    )
