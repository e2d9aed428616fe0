"""Pools, proxies, and who may be talked to."""

from __future__ import annotations

import pytest

from ezlink_async._io import addresses
from ezlink_async._io.addresses import AddressRefusedError, is_public


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
def test_hosts_of_the_internet_are_public(host: str) -> None:
    """A name with a dot and an address that is routed may be talked to."""
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
def test_hosts_of_this_machine_and_its_network_are_not(host: str | None) -> None:
    """Loopback, private and odd addresses are not public, however spelled."""
    assert not is_public(host)


def test_an_origin_is_scheme_host_and_port() -> None:
    """Two spellings of one server have one origin."""
    assert addresses.origin("https://API.example.com/a") == (
        "https",
        "api.example.com",
        443,
    )
    assert addresses.origin("http://a:80") == addresses.origin("http://A/b?c")
    assert addresses.origin("http://a:81") != addresses.origin("http://a")


@pytest.mark.parametrize("url", ["http://[::1", "http://a:port/", "http://a:99999/"])
def test_what_is_no_address_is_refused(url: str) -> None:
    """An address that cannot be read is refused like one that is not allowed."""
    with pytest.raises(AddressRefusedError):
        addresses.origin(url)


def test_a_redirect_to_nowhere_is_refused() -> None:
    """A redirect's address is joined to where it came from, or refused."""
    assert addresses.resolve_redirect("http://a/b/c", "../d") == "http://a/d"
    with pytest.raises(AddressRefusedError):
        addresses.resolve_redirect("http://a/b", "http://[::1")


def test_a_name_in_any_script_is_read_as_it_is_asked_for() -> None:
    """A host has one spelling on the wire, and that one is judged."""
    url = "https://B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/a"
    assert addresses.origin(url) == ("https", "xn--bcher-kva.example", 443)
    assert is_public("xn--bcher-kva.example")
