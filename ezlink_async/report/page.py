"""
The page itself: a form with places, and what goes into each.

Comes in pieces, so that a page of any length needs little memory.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources

from ezlink_async.report.escaping import markup
from ezlink_async.report.models import MEANINGS, Facts, Status
from ezlink_async.report.rows import Counts

_MINUTE = 60

_HOUR = 60 * _MINUTE

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def photos(number: int) -> str:
    """Say how many photos."""
    return "1 photo" if number == 1 else f"{number:,} photos"


def lasted(seconds: float) -> str:
    """Say a duration with the two units that matter."""
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    minutes = round(whole / _MINUTE)
    return f"{minutes // 60:,} h {minutes % 60} min"


def day(moment: dt.datetime) -> str:
    """Say a date; not by `strftime`, which speaks the language of the system."""
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


def span(started: dt.datetime, finished: dt.datetime) -> str:
    """Say from when to when, and in which time zone."""
    end = f"{finished:%H:%M}"
    if finished.date() != started.date():
        end = f"{day(finished)}, {end}"
    return f"{day(started)}, {started:%H:%M} – {end} ({started.tzname()})"


ASSETS = ".ezlink/report"
"""Where the thumbnails are, beside the page; the script knows it from the form."""

_SCRIPTS = ("data.js", "list.js", "cards.js", "view.js", "page.js")

_PLACE = re.compile(r"<!--\{(\w+)\}-->")

_WIDTH = 1000  # of the bar, in its own units

_LEAST = 6  # of them for the smallest share, so that one failure shows


def page(
    facts: Facts, tally: Counts, troubles: Iterable[str], rows: Iterable[str]
) -> Iterator[str]:
    """Return the page in pieces; *troubles* and *rows* are ready to stand in it."""
    style, script = _form("page.css"), _script()
    parts: Mapping[str, Iterable[str]] = {
        "policy": [_policy(style, script)],
        "title": [markup(facts.title)],
        "style": [style],
        "head": [_head(facts, tally)],
        "bar": [_bar(tally)],
        "asides": [_asides(facts, tally)],
        "filters": [_filters(tally)],
        "troubles": troubles,
        "assets": [ASSETS],
        "rows": rows,
        "script": [script],
    }
    for number, piece in enumerate(_PLACE.split(_form("page.html"))):
        if number % 2:
            yield from parts[piece]
        else:
            yield piece


def _form(name: str) -> str:
    return (resources.files("ezlink_async.report") / "assets" / name).read_text(
        encoding="utf-8"
    )


def _script() -> str:
    """Join the script from its parts, which see each other and nobody else."""
    return f'(() => {{"use strict";{"".join(map(_form, _SCRIPTS))}}})();'


def _policy(style: str, script: str) -> str:
    """Allow this script, this style, and pictures; nothing that came in a name."""
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        "img-src 'self' file: data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _head(facts: Facts, tally: Counts) -> str:
    return (
        f"{_portrait(tally)}<div><h1>{markup(facts.title)}</h1>"
        f'<p class="sum">{_sum(tally)}</p>'
        f'<p class="when">{markup(span(facts.started, facts.finished))} · '
        f"{lasted(facts.seconds)}</p></div>"
    )


def _sum(tally: Counts) -> str:
    good = tally.counts["succeeded"]
    if good == tally.total > 1:
        return f"All <strong>{good:,}</strong> photos succeeded"
    return f"<strong>{good:,}</strong> of {photos(tally.total)} succeeded"


def _portrait(tally: Counts) -> str:
    """Show the source once, if there is but one; else every photo shows its own."""
    if tally.source is None or tally.portrait is None or not tally.portrait.stem:
        return ""
    name = markup(tally.source.name)
    return (
        f'<figure><img src="{ASSETS}/{tally.portrait.stem}-s.jpg" alt="">'
        f"<figcaption>Source<bdi>{name}</bdi></figcaption></figure>"
    )


def _bar(tally: Counts) -> str:
    """Draw the shares; an attribute of style would be against the policy."""
    present = [status for status in MEANINGS if tally.counts[status]]
    room = _WIDTH - _LEAST * len(present)
    drawn, left = "", 0.0
    for status in present:
        width = _LEAST + room * tally.counts[status] / tally.total
        drawn += f'<rect class="{status}" x="{left:.2f}" width="{width:.2f}"/>'
        left += width
    return drawn


def _asides(facts: Facts, tally: Counts) -> str:
    asides = [_paid(facts, tally), _going_on(facts)]
    if facts.notes:
        notes = "".join(f"<p>{markup(note, lines=True)}</p>" for note in facts.notes)
        asides.append(f'<section class="aside"><h2>Notes</h2>{notes}</section>')
    return "".join(asides)


def _paid(facts: Facts, tally: Counts) -> str:
    says = []
    if tally.maybe_charged:
        have = "has" if tally.maybe_charged == 1 else "have"
        says.append(
            f"<p><strong>{photos(tally.maybe_charged)}</strong> may have been paid for "
            f"and {have} no result here. Each is marked.</p>"
        )
    if facts.charged_note:
        says.append(f"<p>{markup(facts.charged_note, lines=True)}</p>")
    if not says:
        return ""
    kind = " warned" if tally.maybe_charged else ""
    words = "".join(says)
    return f'<section class="aside{kind}"><h2>Payment</h2>{words}</section>'


def _going_on(facts: Facts) -> str:
    if not facts.command:
        return ""
    return (
        '<section class="aside"><h2>To go on</h2><div class="command">'
        f'<code id="command" tabindex="0">{markup(facts.command)}</code>'
        '<button type="button" id="copy" class="scripted">Copy</button></div></section>'
    )


def _filters(tally: Counts) -> str:
    everything = "In the order they were given."
    choices = [_choice("all", tally.total, everything, "checked")]
    choices += [
        _choice(status, tally.counts[status], meaning)
        for status, meaning in MEANINGS.items()
    ]
    return "".join(choices)


def _choice(value: Status | str, count: int, meaning: str, checked: str = "") -> str:
    zero = "" if count else " zero"
    return (
        f'<label class="{value}{zero}">'
        f'<input type="radio" name="status" value="{value}" '
        f'data-meaning="{markup(meaning)}" {checked}>'
        f"<span>{value.capitalize()} <b>{count:,}</b></span></label>"
    )
