"""The log of the package: a message from outside writes no lines of its own."""

from __future__ import annotations

import pytest

from ezlink_async._core.log_lines import get_logger


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("7\nWARNING all is well", r"task 7\nWARNING all is well"),
        ("7\r\x1b[2K", r"task 7\r\x1b[2K"),
        ("7\u2028x\u202e", r"task 7\u2028x\u202e"),
        ("\ud800", r"task \ud800"),
        ("100 % of B\u00fccher \u65e5\u672c", "task 100 % of B\u00fccher \u65e5\u672c"),
    ],
)
def test_message_is_one_line(
    text: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    get_logger().warning("task %s", text)
    get_logger().warning("task %s", ValueError(text))
    assert [record.getMessage() for record in caplog.records] == [line, line]


def test_traceback_has_no_line_that_begins_like_a_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    get_logger().error("task %s", "x", exc_info=ValueError("7\nWARNING a\r\x1b[2K"))
    first, *others = caplog.text.splitlines()
    assert first.endswith("task x")
    assert all(line.startswith("  ") for line in others)
    assert others[-1] == r"  WARNING a\r\x1b[2K"


def test_record_keeps_its_arguments_when_nothing_is_escaped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Tools that group records by their arguments still can."""
    get_logger().warning("%d of %s", 3, "x")
    (record,) = caplog.records
    assert (record.msg, record.args) == ("%d of %s", (3, "x"))


def test_logger_is_the_one_that_programs_configure() -> None:
    assert get_logger() is get_logger()
    assert get_logger().name == "ezlink_async"
    assert len(get_logger().filters) == 1
