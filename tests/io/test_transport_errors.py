"""What aiohttp raised, in our words."""

from __future__ import annotations

import aiohttp
import pytest
import yarl
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy

from ezlink_async._core.images import InspectedImage
from ezlink_async._io import transport_errors
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


def info() -> aiohttp.RequestInfo:
    """Return what aiohttp's errors carry: the request with its key."""
    headers = CIMultiDictProxy(CIMultiDict({"Authorization": f"Bearer {KEY}"}))
    address = yarl.URL(URL)
    return aiohttp.RequestInfo(address, "POST", headers, address)


def garbage(message: str = "Bad status line\nand more") -> aiohttp.ClientResponseError:
    """Return what an answer becomes that is not HTTP."""
    return aiohttp.ClientResponseError(info(), (), status=400, message=message)


def refused() -> aiohttp.ClientConnectorError:
    """Return a connection that was refused."""
    return aiohttp.ClientConnectorError(KEYED, ConnectionRefusedError(111, "refused"))


def upload(*, complete: bool = False, fault: BaseException | None = None) -> Upload:
    """Return an upload that came so far."""
    picture: InspectedImage = prepared(b"\xff\xd8\xff")
    made = Upload(submit_of(picture), stall=1)
    made.complete, made.fault = complete, fault
    return made


PROXY = aiohttp.ClientHttpProxyError(info(), (), status=407, message="no")
DNS = aiohttp.ClientConnectorDNSError(KEYED, OSError(-2, "Name not known"))
UNTRUSTED = aiohttp.ClientConnectorSSLError(KEYED, OSError(1, "CERTIFICATE_VERIFY"))
SLOW = aiohttp.ConnectionTimeoutError(f"Connection timeout to host {URL}")
CLEAR = garbage("Bad status line 'Invalid version':\n\n b'\\x15\\x03\\x03'")
NEVER_SENT = [
    (refused(), "connect", "refused"),
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
def test_what_was_never_sent_is_safe(
    fault: BaseException, stage: str, says: str, *, complete: bool
) -> None:
    """A connection that was never made proves that there is no job."""
    error = transport_errors.translate_submit_error(
        fault, URL, "1", upload(complete=complete)
    )
    assert isinstance(error, TransportError)
    assert (error.stage, error.retry_safe, error.maybe_charged) == (stage, True, False)
    assert says in str(error)
    assert error.request_id == "1"
    assert not secrets_in(error)
    fetched = transport_errors.translate_fetch_error(fault, URL, "1")
    assert isinstance(fetched, TransportError)
    assert (fetched.stage, fetched.retry_safe) == (stage, False)


def test_a_server_that_speaks_tls_had_no_job() -> None:
    """The alert of a TLS server to a request in clear is no answer to it."""
    error = transport_errors.translate_submit_error(
        CLEAR, URL, "1", upload(complete=True)
    )
    assert error.retry_safe
    assert "write https" in str(error)


LOST = [
    (aiohttp.ServerDisconnectedError(), "answer"),
    (aiohttp.ClientOSError(104, "Connection reset by peer"), "answer"),
    (ConnectionResetError(104, "Connection reset by peer"), "answer"),
    (garbage(), "answer"),
    (garbage(""), "answer"),
    (aiohttp.ClientPayloadError("cut off"), "answer"),
    (aiohttp.ClientConnectionError(f"into Connection<{KEYED!r}>"), "answer"),
    (ValueError(f"no proxy: http://u:{PASSWORD}@[::1"), "answer"),
    (aiohttp.SocketTimeoutError("silence"), "silence"),
    (TimeoutError(), "silence"),
]


@pytest.mark.parametrize(("fault", "stage"), LOST)
def test_what_is_lost_after_the_body_may_be_paid(
    fault: BaseException, stage: str
) -> None:
    """Any other loss leaves a submit unknown once its body was complete."""
    error = transport_errors.translate_submit_error(
        fault, URL, "1", upload(complete=True)
    )
    assert isinstance(error, TransportError)
    assert (error.stage, error.retry_safe, error.maybe_charged) == (stage, False, True)
    assert not secrets_in(error)
    fetched = transport_errors.translate_fetch_error(fault, URL, "1")
    assert isinstance(fetched, TransportError)
    assert (fetched.stage, fetched.maybe_charged) == (stage, False)
    assert not secrets_in(fetched)


@pytest.mark.parametrize(("fault", "stage"), LOST)
def test_what_is_lost_before_the_last_part_is_safe(
    fault: BaseException, stage: str
) -> None:
    """The same losses prove that there is no job while a part was held back."""
    error = transport_errors.translate_submit_error(fault, URL, "1", upload())
    assert isinstance(error, TransportError)
    assert (error.stage, error.retry_safe) == ("upload", True), stage
    assert not error.maybe_charged
    assert not secrets_in(error)


@pytest.mark.parametrize(
    "own", [UploadStalledError("stood"), UploadAbortedError("off")]
)
def test_our_own_reason_is_told(own: Exception) -> None:
    """What stopped the upload is named, not how aiohttp wrapped it."""
    wrapped = aiohttp.ClientConnectionError(f"Failed: {KEYED}")
    error = transport_errors.translate_submit_error(
        wrapped, URL, "1", upload(fault=own)
    )
    assert str(own) in str(error)
    assert not secrets_in(error)


def test_a_picture_that_changed_is_its_own_error() -> None:
    """An ImageError from the middle of a body comes out as it is."""
    changed = ImageError("changed")
    wrapped = aiohttp.ClientConnectionError("Failed")
    assert (
        transport_errors.translate_submit_error(
            wrapped, URL, "1", upload(fault=changed)
        )
        is changed
    )


def test_an_error_of_ours_is_what_it_is() -> None:
    """Some of ours are a ValueError too, and say more than any translation."""
    closed = ConfigurationError("the session is closed")
    assert transport_errors.translate_submit_error(closed, URL, "1", upload()) is closed
    assert transport_errors.translate_fetch_error(closed, URL, "1") is closed


def test_a_server_that_is_known_is_not_suspected_of_speaking_tls() -> None:
    """The hint is for an address that has never answered."""
    lost = aiohttp.ServerDisconnectedError()
    whole, url = upload(complete=True), "http://10.0.0.1"
    assert "write https" in str(
        transport_errors.translate_submit_error(lost, url, "1", whole)
    )
    known = transport_errors.translate_submit_error(lost, url, "1", whole, known=True)
    assert "write https" not in str(known)


def test_an_outage_is_told_once_when_it_begins_and_once_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However many requests meet it; another fault is none."""
    outage = transport_errors.OutageLog()
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
