"""Addresses: which hosts may be asked, and where a result is."""

from __future__ import annotations

from typing import Literal

import pytest

from ezlink_async._io import addresses
from ezlink_async._io.addresses import (
    AddressRefusedError,
    InlineResult,
    ResultAddress,
    is_public,
    locate,
)
from ezlink_async.models import Result


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "cdn.example.com.",
        "8.8.8.8",
        "2606:4700::1111",
        "[2606:4700::1111]",
        "::ffff:8.8.8.8",
        "1.example.com",
        "0x7f.example.com",
        "a_b.xn--bcher-kva.example",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)
def test_dotted_names_and_routed_addresses_are_public(host: str) -> None:
    assert is_public(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "intranet",
        "printer.local",
        "db.internal.",
        "nas.lan",
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - nothing is bound
        "224.0.0.1",
        "::1",
        "[::1]",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "127.1",
        "0177.0.0.1",
        "2130706433",
        "0x7f.1",
        "0x7f.0.0.0x1",
        "10.0.0.256",
        "127.0.0.1..",
        "127.0.0.%31",
        "127.0.0.\N{FULLWIDTH DIGIT ONE}",
        "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example",
        "a..example.com",
        "example.com/",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "fec0::1",
        "2606:4700::1111%1",
        "2606:4700::1111%25eth0",
    ],
)
def test_loopback_private_and_odd_hosts_are_not_public(host: str | None) -> None:
    assert not is_public(host)


def test_origin_is_scheme_host_and_port() -> None:
    assert addresses.origin("https://API.example.com/a") == (
        "https",
        "api.example.com",
        443,
    )
    assert addresses.origin("http://a:80") == addresses.origin("http://A/b?c")
    assert addresses.origin("http://a:81") != addresses.origin("http://a")


@pytest.mark.parametrize("url", ["http://[::1", "http://a:port/", "http://a:99999/"])
def test_unreadable_address_is_refused(url: str) -> None:
    with pytest.raises(AddressRefusedError):
        addresses.origin(url)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://a.example/x y.jpg?q=1 2", "https://a.example/x%20y.jpg?q=1%202"),
        (" https://a.example/x ", "https://a.example/x"),
        ("https://a.example/%2f ?s=%7B", "https://a.example/%2f%20?s=%7B"),
        ("https://a.example/ü x", "https://a.example/%C3%BC%20x"),
        ("https://a.example/x?sig=a%2Fb+c%3D", "https://a.example/x?sig=a%2Fb+c%3D"),
    ],
)
def test_blank_in_an_address_is_sent_encoded(url: str, sent: str) -> None:
    """What is encoded already stays as it is: it may be signed."""
    assert str(addresses.parse_url(url)) == sent


@pytest.mark.parametrize(
    "url",
    [
        "http://a/x\r\nHost: b",
        "http://a\n/x",
        "http://a/\x00",
        "http://a b/x",
        "\ud800",
    ],
)
def test_address_with_a_line_break_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(AddressRefusedError, match="is no address") as caught:
        addresses.parse_url(url)
    assert str(caught.value).isprintable()


def test_redirect_is_joined_to_its_origin_or_refused() -> None:
    assert addresses.resolve_redirect("http://a/b/c", "../d") == "http://a/d"
    with pytest.raises(AddressRefusedError):
        addresses.resolve_redirect("http://a/b", "http://[::1")


def test_origin_has_the_ascii_spelling_of_an_international_name() -> None:
    url = "https://B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/a"
    assert addresses.origin(url) == ("https", "xn--bcher-kva.example", 443)
    assert is_public("xn--bcher-kva.example")


API = "https://api.example.com"

REBUILT = f"{API}/mj/image/7"

THERE = "https://cdn.example.com/a?sig=1"

MIB = 1024 * 1024


def test_only_address_of_a_result_is_tried_like_one_of_the_api() -> None:
    """One that the API has as well is tried after that of the record."""
    picture = Result(kind="image", url=THERE)
    assert locate(picture, API) == [ResultAddress(THERE, limit=100 * MIB)]
    assert locate(picture, API, REBUILT) == [
        ResultAddress(THERE, foreign=True),
        ResultAddress(REBUILT),
    ]


def test_video_may_be_larger_than_a_picture() -> None:
    video = Result(kind="video", url=THERE)
    assert locate(video, API) == [ResultAddress(THERE, limit=2048 * MIB)]


@pytest.mark.parametrize(
    ("kind", "content", "kept"),
    [
        ("text", b"a\r\nb\rc\n", b"a\nb\nc\n"),
        ("image", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n"),
        ("image", b"", b""),
    ],
)
def test_result_in_its_record_is_its_bytes(
    kind: Literal["image", "text"], content: bytes, kept: bytes
) -> None:
    found = locate(Result(kind=kind, content=content, url=THERE), API, REBUILT)
    assert found == InlineResult(kept, is_text=kind == "text")
    assert "content" not in repr(found)


def test_result_without_address_and_content_is_nowhere() -> None:
    assert locate(Result(kind="image"), API) == []
    assert locate(Result(kind="image"), API, REBUILT) == [ResultAddress(REBUILT)]
    assert locate(None, API, REBUILT) == [ResultAddress(REBUILT)]
    assert locate(None, API) == []
