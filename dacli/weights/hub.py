"""One request to a hub: its address, the hosts that the token is sent to, and what its errors mean."""

import contextlib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Origin:
    """The http(s) address of a file, and the token that is sent to its host and to no other."""

    address: str
    token: str | None = None

    @property
    def host(self) -> str:
        """Return the host and port of the address, which errors name."""
        return urlsplit(self.address).netloc.rpartition("@")[2]


class RefusedError(Exception):
    """An origin refused to send the file; another one may have it."""


class DroppedError(Exception):
    """A connection that broke or a server that is busy: the same origin may send the rest after `wait` seconds.

    `unreachable` means that no connection was made.
    """

    def __init__(self, reason: str, *, wait: float | None = None, unreachable: bool = False) -> None:
        self.wait = wait
        self.unreachable = unreachable
        super().__init__(reason)


@contextlib.contextmanager
def open_origin(origin: Origin, headers: dict[str, str], timeout: float) -> Iterator[HTTPResponse | None]:
    """Yield the server's response; None if no bytes remain of the range in the headers (HTTP 416).

    Raises RefusedError or DroppedError.
    """
    request = urllib.request.Request(origin.address, headers=headers)  # noqa: S310 - an Origin is http(s)
    if origin.token:
        request.add_unredirected_header("Authorization", f"Bearer {origin.token}")
    try:
        response = urllib.request.build_opener(RedirectHandler).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or "Range" not in headers:
                raise _status_error(error, origin) from error
        yield None
        return
    except (OSError, HTTPException) as error:
        raise _opening_error(error) from error
    except ValueError:  # its text contains the token
        raise RefusedError("the address or HF_TOKEN holds characters that cannot be sent") from None
    with response:
        yield response


class RedirectHandler(urllib.request.HTTPRedirectHandler):
    """Redirects that never go from https to http, and that send the token only to the same host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if old.scheme == "https" and new.scheme != "https":
            fp.close()
            raise urllib.error.URLError(f"redirects to {newurl}, which is not encrypted")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.unredirected_hdrs.update(req.unredirected_hdrs)
        return request


def _status_error(error: urllib.error.HTTPError, origin: Origin) -> Exception:
    status = f"HTTP {error.code} {error.reason}"
    if error.code in {401, 403}:
        return RefusedError(f"{status} ({'it does not accept HF_TOKEN' if origin.token else 'it may need HF_TOKEN'})")
    if error.code in {408, 425, 429, 500, 502, 503, 504}:
        after = error.headers.get("Retry-After", "")
        return DroppedError(status, wait=float(after) if after.isdigit() else None)
    return RefusedError(status)


def _opening_error(error: Exception) -> Exception:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, str | ssl.SSLCertVerificationError):
        return RefusedError(connection_reason(error))
    unreachable = isinstance(cause, socket.gaierror | ConnectionRefusedError) or (
        isinstance(error, urllib.error.URLError) and isinstance(cause, TimeoutError)
    )
    return DroppedError(connection_reason(error), unreachable=unreachable)


def connection_reason(error: Exception) -> str:
    """Return the reason of a network error in the system's words, or else its text or its type."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
