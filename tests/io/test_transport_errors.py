"""The exceptions of aiohttp as errors of ours."""

from __future__ import annotations

import aiohttp
import pytest
import yarl
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy

from ezlink_async._core.images import InspectedImage
from ezlink_async._io.transport_errors import (
    translate_fetch_error,
    translate_submit_error,
)
from ezlink_async._io.upload import Upload, UploadAbortedError, UploadStalledError
from ezlink_async.errors import ConfigurationError, ImageError, TransportError
from tests.support.pictures import prepared
from tests.support.transports import KEY, PASSWORD, secrets_in, submit_of

URL = "https://api.example.com/mj/insight-face/swap"
KEYED = ConnectionKey(
    "api.example.com",
    443,
    True,  # noqa: FBT003 - aiohttp's own tuple
    True,  # noqa: FBT003
    yarl.URL(f"http://user:{PASSWORD}@proxy.example.com"),
    None,
    None,
)


def request_info() -> aiohttp.RequestInfo:
    """Return what aiohttp's errors carry: the request with its key."""
    headers = CIMultiDictProxy(CIMultiDict({"Authorization": f"Bearer {KEY}"}))
    address = yarl.URL(URL)
    return aiohttp.RequestInfo(address, "POST", headers, address)


def not_http(message: str = "Bad status line\nand more") -> aiohttp.ClientResponseError:
    """Return the error for an answer that is not HTTP."""
    return aiohttp.ClientResponseError(request_info(), (), status=400, message=message)


def connection_refused() -> aiohttp.ClientConnectorError:
    return aiohttp.ClientConnectorError(
        KEYED, ConnectionRefusedError(111, "connection_refused")
    )


def upload(*, complete: bool = False, fault: BaseException | None = None) -> Upload:
    """Return an upload in the given state."""
    picture: InspectedImage = prepared(b"\xff\xd8\xff")
    made = Upload(submit_of(picture), stall=1)
    made.complete, made.fault = complete, fault
    return made


PROXY = aiohttp.ClientHttpProxyError(request_info(), (), status=407, message="no")
DNS = aiohttp.ClientConnectorDNSError(KEYED, OSError(-2, "Name not known"))
UNTRUSTED = aiohttp.ClientConnectorSSLError(KEYED, OSError(1, "CERTIFICATE_VERIFY"))
SLOW = aiohttp.ConnectionTimeoutError(f"Connection timeout to host {URL}")
CLEAR = not_http("Bad status line 'Invalid version':\n\n b'\\x15\\x03\\x03'")
NEVER_SENT = [
    (connection_refused(), "connect", "refused"),
    (PROXY, "connect", "the proxy answered 407"),
    (DNS, "connect", "was not found"),
    (UNTRUSTED, "tls", "SSL_CERT_FILE"),
    (SLOW, "connect", "timeout"),
    (aiohttp.InvalidURL(f"http://u:{PASSWORD}@x", "no host"), "connect", "no host"),
    (aiohttp.InvalidURL(f"http://u:{PASSWORD}@x"), "connect", "cannot be read"),
    (UnicodeError("label too long"), "connect", "label too long"),
]


@pytest.mark.parametrize(("fault", "stage", "says"), NEVER_SENT)
@pytest.mark.parametrize("complete", [False, True])
def test_connection_never_made_is_safe_to_retry(
    fault: BaseException, stage: str, says: str, *, complete: bool
) -> None:
    error = translate_submit_error(fault, URL, "1", upload(complete=complete))
    assert isinstance(error, TransportError)
    assert (error.stage, error.retry_safe, error.maybe_charged) == (stage, True, False)
    assert says in str(error)
    assert error.request_id == "1"
    assert not secrets_in(error)
    fetched = translate_fetch_error(fault, URL, "1")
    assert isinstance(fetched, TransportError)
    assert (fetched.stage, fetched.retry_safe) == (stage, False)


def test_tls_alert_says_to_write_https_and_is_safe_to_retry() -> None:
    error = translate_submit_error(CLEAR, URL, "1", upload(complete=True))
    assert error.retry_safe
    assert "write https" in str(error)


LOST = [
    (aiohttp.ServerDisconnectedError(), "answer"),
    (aiohttp.ClientOSError(104, "Connection reset by peer"), "answer"),
    (ConnectionResetError(104, "Connection reset by peer"), "answer"),
    (not_http(), "answer"),
    (not_http(""), "answer"),
    (aiohttp.ClientPayloadError("cut off"), "answer"),
    (aiohttp.ClientConnectionError(f"into Connection<{KEYED!r}>"), "answer"),
    (ValueError(f"no proxy: http://u:{PASSWORD}@[::1"), "answer"),
    (aiohttp.SocketTimeoutError("silence"), "silence"),
    (TimeoutError(), "silence"),
]


@pytest.mark.parametrize(("fault", "stage"), LOST)
def test_answer_lost_after_the_body_may_be_charged(
    fault: BaseException, stage: str
) -> None:
    error = translate_submit_error(fault, URL, "1", upload(complete=True))
    assert isinstance(error, TransportError)
    assert (error.stage, error.retry_safe, error.maybe_charged) == (stage, False, True)
    assert not secrets_in(error)
    fetched = translate_fetch_error(fault, URL, "1")
    assert isinstance(fetched, TransportError)
    assert (fetched.stage, fetched.maybe_charged) == (stage, False)
    assert not secrets_in(fetched)


@pytest.mark.parametrize(("fault", "stage"), LOST)
def test_connection_lost_before_the_last_part_is_safe_to_retry(
    fault: BaseException, stage: str
) -> None:
    error = translate_submit_error(fault, URL, "1", upload())
    assert isinstance(error, TransportError)
    assert (error.stage, error.retry_safe) == ("upload", True), stage
    assert not error.maybe_charged
    assert not secrets_in(error)


@pytest.mark.parametrize(
    "own", [UploadStalledError("stood"), UploadAbortedError("off")]
)
def test_fault_of_the_upload_is_reported_instead_of_aiohttps(own: Exception) -> None:
    wrapped = aiohttp.ClientConnectionError(f"Failed: {KEYED}")
    error = translate_submit_error(wrapped, URL, "1", upload(fault=own))
    assert str(own) in str(error)
    assert not secrets_in(error)


def test_image_error_of_the_upload_is_returned_as_it_is() -> None:
    changed = ImageError("changed")
    wrapped = aiohttp.ClientConnectionError("Failed")
    assert translate_submit_error(wrapped, URL, "1", upload(fault=changed)) is changed


def test_ezlink_error_is_returned_as_it_is() -> None:
    """Some are a ``ValueError``, too."""
    closed = ConfigurationError("the session is closed")
    assert translate_submit_error(closed, URL, "1", upload()) is closed
    assert translate_fetch_error(closed, URL, "1") is closed


def test_hint_at_tls_is_for_servers_that_never_answered() -> None:
    lost = aiohttp.ServerDisconnectedError()
    whole, url = upload(complete=True), "http://10.0.0.1"
    assert "write https" in str(translate_submit_error(lost, url, "1", whole))
    known = translate_submit_error(lost, url, "1", whole, known=True)
    assert "write https" not in str(known)
