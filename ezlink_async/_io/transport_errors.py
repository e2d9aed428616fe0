"""
What aiohttp raised, in our words, and what it proves about a request.

Text is copied and the original left behind: the representation of some of
aiohttp's exceptions holds the request's headers, and so the key, or the
password of a proxy.
"""

from __future__ import annotations

import logging

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from ezlink_async._io.upload import Upload
from ezlink_async.errors import EzlinkError, TransportError

_log = logging.getLogger("ezlink_async")

FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)
"""What a request can raise that is not ours; a timeout is an ``OSError``."""

_TLS = (aiohttp.ClientConnectorSSLError, aiohttp.ClientConnectorCertificateError)
_NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    UnicodeError,  # the system's resolver, of a name it cannot spell
)
# How aiohttp prints the alert a TLS server sends when it is spoken to in clear.
_TLS_ALERT = "\\x15\\x03"


def _below(fault: aiohttp.ClientConnectorError) -> str:
    # Of a certificate older releases keep no `os_error`.
    if isinstance(fault, aiohttp.ClientConnectorCertificateError):
        return str(fault.certificate_error)
    return fault.os_error.strerror or str(fault.os_error)


def _of_a_setting(fault: ValueError) -> str:
    # What it is about may be the proxy, and its address hold a password.
    if isinstance(fault, aiohttp.InvalidURL):
        return fault.description or "it cannot be read"
    return str(fault) if isinstance(fault, UnicodeError) else type(fault).__name__


_FIXED = {
    aiohttp.ServerDisconnectedError: "the server closed the connection",
    aiohttp.ClientConnectionError: "the connection broke",  # names its proxy
}


def words(fault: BaseException) -> str:
    """Return what *fault* says, without anything of the request in it."""
    if isinstance(fault, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {fault.status}"
    if isinstance(fault, aiohttp.ClientResponseError):
        return f"not HTTP: {fault.message.splitlines()[0] if fault.message else ''}"
    if isinstance(fault, aiohttp.ClientConnectorError):
        return _below(fault)
    if isinstance(fault, ValueError):
        return _of_a_setting(fault)
    return _FIXED.get(type(fault)) or str(fault) or type(fault).__name__


def _speaks_tls(fault: BaseException) -> bool:
    return isinstance(fault, aiohttp.ClientResponseError) and (
        _TLS_ALERT in fault.message
    )


def _connecting(fault: BaseException, url: str) -> TransportError | None:
    """Return the error of a request that surely never left, if it is one."""
    says, stage = "", "connect"
    if isinstance(fault, _TLS):
        stage = "tls"
        says = (
            f"no trusted TLS connection to {url}: {words(fault)}; "
            "SSL_CERT_FILE names the certificates to trust"
        )
    elif _speaks_tls(fault):
        stage, says = "tls", f"{url} speaks TLS: write https"
    elif isinstance(fault, aiohttp.ClientConnectorDNSError):
        says = f"the host of {url} was not found: {words(fault)}"
    elif isinstance(fault, _NEVER_SENT):
        says = f"no connection to {url}: {words(fault)}"
    return TransportError(says, stage=stage, retry_safe=True) if says else None


def translate_fetch_error(
    fault: BaseException, url: str, request_id: str
) -> EzlinkError:
    """Return what a small request's *fault* means; one of ours is what it is."""
    if isinstance(fault, EzlinkError):
        return fault
    error = _connecting(fault, url)
    if error is None:
        stage = "silence" if isinstance(fault, TimeoutError) else "answer"
        error = TransportError(f"no answer from {url}: {words(fault)}", stage=stage)
    error.retry_safe = False  # it says nothing about a submit
    error.request_id = request_id
    return error


def _hint(url: str) -> str:
    # A TLS server hangs up on plain text.
    return " (if it speaks TLS, write https)" if url.startswith("http:") else ""


def translate_submit_error(
    fault: BaseException,
    url: str,
    request_id: str,
    upload: Upload,
    *,
    known: bool = False,
) -> EzlinkError:
    """
    Return what a submit's *fault* means for the job; one of ours is what it is.

    Only a connection that was never made, or a body that never left whole,
    prove that there is none. A server that is *known* speaks as it is spoken to.
    """
    hint = "" if known else _hint(url)
    for own in (fault, upload.fault):
        if isinstance(own, EzlinkError):
            return own
    error = _connecting(fault, url)
    if error is None and not upload.complete:
        says = words(upload.fault or fault) + hint
        error = TransportError(
            f"the upload to {url} was cut off, so no job exists: {says}",
            stage="upload",
            retry_safe=True,
        )
    if error is None:
        silent = isinstance(fault, TimeoutError)
        error = TransportError(
            f"the job was sent to {url}, but no answer came: {words(fault)}{hint}",
            stage="silence" if silent else "answer",
            maybe_charged=True,
        )
    error.request_id = request_id
    return error


class OutageLog:
    """Tells the log, once each, when a connection is lost and when it is back."""

    def __init__(self) -> None:
        self._lasts = False

    def note(self, error: EzlinkError) -> None:
        """Take note of what was met."""
        lost = isinstance(error, TransportError) and error.stage == "connect"
        if lost and not self._lasts:
            self._lasts = True
            _log.warning("%s; everything waits until there is one again", error)

    def over(self) -> None:
        """Take note of an answer."""
        if self._lasts:
            self._lasts = False
            _log.warning("there is a connection again")
