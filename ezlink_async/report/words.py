"""Numbers and times as people write them."""

from __future__ import annotations

import datetime as dt

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
