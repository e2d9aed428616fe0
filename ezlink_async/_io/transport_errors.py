"""
The exceptions of aiohttp as errors of ours, and what each proves about a request.

Only text is copied from the original: the representation of some exceptions of
aiohttp holds the headers of the request, and so the key, or the password of a
proxy.
"""

from __future__ import annotations

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from ezlink_async._io.upload import Upload
from ezlink_async.errors import EzlinkError, TransportError

FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)
"""The exceptions of a request that are not ours; a timeout is an ``OSError``."""

_NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    UnicodeError,  # raised by the system's resolver for a name it cannot spell
)
# How aiohttp prints the alert that a TLS server sends to a client without TLS.
_TLS_ALERT = "\\x15\\x03"

_FIXED = {
    aiohttp.ServerDisconnectedError: "the server closed the connection",
    aiohttp.ClientConnectionError: "the connection broke",  # its text names the proxy
}


def describe(fault: BaseException) -> str:
    """Return the reason of *fault*, without any text of the request."""
    if isinstance(fault, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {fault.status}"
    if isinstance(fault, aiohttp.ClientResponseError):
        return f"not HTTP: {fault.message.splitlines()[0] if fault.message else ''}"
    if isinstance(fault, aiohttp.ClientConnectorCertificateError):
        return str(fault.certificate_error)  # older releases keep no `os_error`
    if isinstance(fault, aiohttp.ClientConnectorError):
        return fault.os_error.strerror or str(fault.os_error)
    if isinstance(fault, ValueError):
        return _describe_value(fault)
    return _FIXED.get(type(fault)) or str(fault) or type(fault).__name__


def _describe_value(fault: ValueError) -> str:
    # The value may be the address of a proxy, which can hold a password.
    if isinstance(fault, aiohttp.InvalidURL):
        return fault.description or "it cannot be read"
    return str(fault) if isinstance(fault, UnicodeError) else type(fault).__name__


class UnansweredError(aiohttp.ClientConnectionError):
    """A request on a connection that ended without an answer; its text says how."""


async def sent_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """
    Send *request* once: a middleware for one whose answer costs.

    aiohttp sends a GET again when its connection ends without an answer, also on a
    new one. It looks for two exceptions to decide that; they are raised as a third.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # nothing was sent, and aiohttp repeats nothing
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as fault:
        raise UnansweredError(describe(fault)) from None


def _connect_error(fault: BaseException, url: str) -> TransportError | None:
    """Return the error of a request that certainly never left, else ``None``."""
    says, stage = "", "connect"
    if isinstance(fault, aiohttp.ClientSSLError):
        stage = "tls"
        says = (
            f"no trusted TLS connection to {url}: {describe(fault)}; "
            "SSL_CERT_FILE names the certificates to trust"
        )
    elif isinstance(fault, aiohttp.ClientConnectorDNSError):
        says = f"the host of {url} was not found: {describe(fault)}"
    elif isinstance(fault, _NEVER_SENT):
        says = f"no connection to {url}: {describe(fault)}"
    elif isinstance(fault, aiohttp.ClientResponseError) and _TLS_ALERT in fault.message:
        stage, says = "tls", f"{url} speaks TLS: write https"
    return TransportError(says, stage=stage, retry_safe=True) if says else None


def translate_fetch_error(
    fault: BaseException, url: str, request_id: str | None
) -> EzlinkError:
    """Return the error for *fault* of a small request; an error of ours as it is."""
    if isinstance(fault, EzlinkError):
        return fault
    error = _connect_error(fault, url)
    if error is None:
        stage = "silence" if isinstance(fault, TimeoutError) else "answer"
        error = TransportError(f"no answer from {url}: {describe(fault)}", stage=stage)
    error.retry_safe = False  # it says nothing about a submit
    error.request_id = request_id
    return error


def translate_submit_error(
    fault: BaseException,
    url: str,
    request_id: str,
    upload: Upload,
    *,
    known: bool = False,
) -> EzlinkError:
    """
    Return the error for *fault* of a submit; an error of ours as it is.

    Only a connection that was never made, or a body without its last part, proves
    that no job exists. *known* says that this server has answered before, so that
    its scheme is right.
    """
    for own in (fault, upload.fault):
        if isinstance(own, EzlinkError):
            return own
    error = _connect_error(fault, url)
    # A TLS server closes the connection of a client without TLS.
    suspect = url.startswith("http:") and not known
    hint = " (if it speaks TLS, write https)" if suspect else ""
    if error is None and not upload.complete:
        error = TransportError(
            f"the upload to {url} was cut off, so no job exists: "
            f"{describe(upload.fault or fault)}{hint}",
            stage="upload",
            retry_safe=True,
        )
    if error is None:
        error = TransportError(
            f"the job was sent to {url}, but no answer came: {describe(fault)}{hint}",
            stage="silence" if isinstance(fault, TimeoutError) else "answer",
            maybe_charged=True,
        )
    error.request_id = request_id
    return error
