"""What the log says of the server: once at the begin, and once at the end."""

from __future__ import annotations

import datetime as dt

import pytest

from ezlink_async._io.server_log import OutageLog, ServerWaitLog
from ezlink_async.errors import TransportError


def test_outage_is_logged_once_at_its_begin_and_once_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage = OutageLog()
    outage.answered()
    outage.failed(TransportError("cut off", stage="answer"))
    assert caplog.messages == []
    for _ in range(3):
        outage.failed(TransportError("no connection to it", stage="connect"))
    for _ in range(2):
        outage.answered()
    assert caplog.messages == [
        "no connection to it; requests wait until the connection is back",
        "the connection is back",
    ]


def test_requested_wait_is_logged_once_with_the_time_of_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A later end is another line; a wait of seconds is none."""
    noon = dt.datetime(2026, 5, 4, 12, 0, 5).astimezone()
    waits = ServerWaitLog(noon.timestamp)
    for asked, seconds in ((None, 40.0), (10.0, 14.0), (90.0, 100.0), (90.0, 99.0)):
        waits.begin(asked, seconds)
    assert caplog.messages == ["the server asks to wait 90 s; going on at 12:01:45"]
    for seconds in (4_000.0, 4_004.0, 3_600.0):
        waits.begin(3_600.0, seconds)
    assert caplog.messages[1:] == ["the server asks to wait 60 min; going on at 13:06"]
    assert waits.says == "going on at 13:06"


def test_wait_of_a_submit_that_has_less_time_names_when_it_gives_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An end on another day is named with its date."""
    noon = dt.datetime(2026, 5, 4, 12, 0, 5).astimezone()
    waits = ServerWaitLog(noon.timestamp)
    waits.begin(600, 650, most=300)
    waits.begin(86_400, 43_200)
    assert caplog.messages == [
        "the server asks to wait 10 min; giving up at 12:05",
        "the server asks to wait 24 h; going on at 2026-05-05 00:00",
    ]


def test_standstill_is_logged_once_until_a_submit_gets_through(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A wait that the server asks for is news even then."""
    times = [1_000_000.0]
    waits = ServerWaitLog(lambda: times[-1])
    waits.stall("no room", 900, by_time=True)
    waits.stall("no room", 890, by_time=True)
    assert waits.says == "trying again"
    waits.begin(90, 90)
    waits.stall("no room", 900, by_time=True)
    assert waits.says.startswith("going on at ")
    waits.end()
    assert waits.says == ""
    waits.stall("no channel", 7_200, by_time=False)
    times.append(times[-1] + 7_200)
    assert waits.says == ""
    assert [line.partition(" at ")[0] for line in caplog.messages] == [
        "no room; trying again for up to 15 min",
        "the server asks to wait 90 s; going on",
        "no channel; trying again",
    ]
