"""The mode in a prompt: what the server charges by, and what is refused."""

from __future__ import annotations

import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ezlink_async.errors import ConfigurationError
from ezlink_async.services.midjourney import Mode
from ezlink_async.services.midjourney.prompts import (
    mode_flags,
    mode_of,
    warn_of_lookalikes,
    with_mode,
)

# unicode.IsSpace of Go, which the server splits prompts at.
GO_BLANKS = "\t\n\v\f\r \x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"


@pytest.mark.parametrize(
    ("prompt", "mode"),
    [
        ("a cat", None),
        ("a cat --turbo", Mode.TURBO),
        ("--relax a cat --turbo", Mode.TURBO),
        ("a --turbo cat --fast", Mode.FAST),
        ("--relax\na cat", Mode.RELAX),
        ("a cat --turbo, red", None),
        ("a cat --TURBO", None),
        ("a cat --turbo\x1fred", None),
        ("a cat\x00--turbo", None),
        ("\ud800 --relax", Mode.RELAX),
        ("a cat --turbo-x", None),
    ],
)
def test_server_charges_the_first_of_fast_turbo_relax(
    prompt: str, mode: Mode | None
) -> None:
    """Not the first in the prompt, and only a separate lower-case word."""
    assert mode_of(prompt) is mode


@pytest.mark.parametrize("blank", GO_BLANKS)
def test_every_blank_of_the_server_ends_a_word(blank: str) -> None:
    assert mode_of(f"a cat{blank}--relax{blank}red") is Mode.RELAX


@pytest.mark.parametrize("blank", "\x1c\x1d\x1e\x1f\u200b\u180e")
def test_blank_of_other_languages_ends_no_word(blank: str) -> None:
    """Python takes some of them for blanks, the server none."""
    assert mode_of(f"a cat{blank}--relax") is None


def test_mode_becomes_the_last_word() -> None:
    assert with_mode("a cat", Mode.RELAX) == "a cat --relax"
    assert with_mode("a cat", None) == "a cat"


def test_same_flag_is_left_alone() -> None:
    prompt = "a --relax cat --relax"
    assert with_mode(prompt, Mode.RELAX) == with_mode(prompt, None) == prompt


@pytest.mark.parametrize(
    ("prompt", "mode"),
    [
        ("a cat --turbo", Mode.RELAX),
        ("--relax a cat\n--turbo", None),
        ("--relax a cat --turbo", Mode.RELAX),
    ],
)
def test_two_modes_are_refused_by_their_names(prompt: str, mode: Mode | None) -> None:
    with pytest.raises(ConfigurationError, match="--turbo and --relax"):
        with_mode(prompt, mode)


@given(
    st.lists(
        st.sampled_from(["--fast", "--turbo", "--relax", "--TURBO", "--turbo,", "a"])
        | st.text(max_size=6)
    ),
    st.text(GO_BLANKS + "\x00\x1f,", min_size=1, max_size=2),
    st.sampled_from([None, *Mode]),
)
@example(["a", "--turbo,"], "\n", Mode.RELAX)
def test_prompt_that_is_sent_is_charged_by_the_mode_that_was_asked_for(
    words: list[str], blank: str, mode: Mode | None
) -> None:
    """And never has two modes."""
    prompt = blank.join(words)
    try:
        sent = with_mode(prompt, mode)
    except ConfigurationError:
        flags = {*mode_flags(prompt), *([f"--{mode.value}"] if mode else [])}
        assert len(flags) > 1
        return
    assert mode_of(sent) is (mode or mode_of(prompt))
    assert len(mode_flags(sent)) <= 1
    assert sent.startswith(prompt)


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("a cat --TURBO", "'--TURBO' is no mode to the server"),
        ("a cat --turbo, red", "charged as fast"),
        ("a cat --Turbo --relax", "charged as relax"),
    ],
)
def test_words_that_look_like_a_flag_are_warned_of(
    prompt: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ezlink_async"):
        warn_of_lookalikes(prompt)
    assert says in caplog.text


@pytest.mark.parametrize("prompt", ["a cat --turbo", "a fast cat", "--relaxed cat"])
def test_other_words_are_not_warned_of(
    prompt: str, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_lookalikes(prompt)
    assert not caplog.records
