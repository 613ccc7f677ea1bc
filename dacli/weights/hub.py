"""One request to a hub: its address, the hosts that the token is sent to, and what its errors mean."""

import base64
import contextlib
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO, Any
from urllib.parse import unquote, urlsplit

_LOGIN = re.compile(r"(?<=//)[^/?#\s]*@|(?<![\w/])[^\s/:@']+:[^\s/@]*@")  # the name and password of an address


@dataclass(frozen=True)
class Origin:
    """The http(s) address of a file, and the token that is sent to its host and to no other."""

    address: str
    token: str | None = None

    @property
    def host(self) -> str:
        """Return the host and port of the address, which errors name."""
        return urlsplit(self.address).netloc.rpartition("@")[2]

    @property
    def shown_address(self) -> str:
        """Return the address as errors name it: without a name and password."""
        return hide_password(self.address)

    def request(self, headers: Mapping[str, str]) -> urllib.request.Request:
        """Return the request for the file; a name and password of the address, or the token, go to its host alone."""
        login = urlsplit(self.address).netloc.rpartition("@")[0]
        address = self.address.replace(f"//{login}@", "//", 1) if login else self.address
        request = urllib.request.Request(address, headers=dict(headers))  # noqa: S310 - an Origin is http(s)
        if login:
            code = base64.b64encode(unquote(login).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {code}")
        elif self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        return request


def hide_password(text: str) -> str:
    """Return a text with *** for the name and password of every address in it."""
    return _LOGIN.sub("***@", text)


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
    try:
        response = make_opener().open(origin.request(headers), timeout=timeout)
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


def make_opener() -> urllib.request.OpenerDirector:
    """Return what opens addresses of http and https, and of no other kind."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        RedirectHandler(),
    ):
        opener.add_handler(handler)
    return opener


class RedirectHandler(urllib.request.HTTPRedirectHandler):
    """Redirects to http(s), never from https to http, that send the token only to the same host."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> Any:
        """Return the response of the address that a redirect names; raise URLError if that is no address of http(s)."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError as error:
            raise urllib.error.URLError(f"redirects to what is no address ({error})") from error
        except urllib.error.HTTPError as error:
            if error.code == code and "not allowed" in str(error.reason):
                raise urllib.error.URLError("redirects to an address that is not of http or https") from error
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https"):
            fp.close()
            raise urllib.error.URLError(f"redirects to {hide_password(newurl)}, which is not of http or https")
        if old.scheme == "https" and new.scheme != "https":
            fp.close()
            raise urllib.error.URLError(f"redirects to {hide_password(newurl)}, which is not encrypted")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.unredirected_hdrs.update(req.unredirected_hdrs)
        return request


def _status_error(error: urllib.error.HTTPError, origin: Origin) -> Exception:
    status = f"HTTP {error.code} {error.reason}"
    if error.code in {401, 403}:
        return RefusedError(f"{status} ({'it does not accept HF_TOKEN' if origin.token else 'it may need HF_TOKEN'})")
    if error.code in {408, 425, 429, 500, 502, 503, 504}:
        return DroppedError(status, wait=parse_count(error.headers.get("Retry-After", "")))
    return RefusedError(status)


def _opening_error(error: Exception) -> Exception:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, str | ssl.SSLCertVerificationError):
        return RefusedError(connection_reason(error))
    unreachable = isinstance(cause, socket.gaierror | ConnectionRefusedError) or (
        isinstance(error, urllib.error.URLError) and isinstance(cause, TimeoutError)
    )
    return DroppedError(connection_reason(error), unreachable=unreachable)


def parse_count(text: str) -> int | None:
    """Return the number in a header; None for any other text, also for digits of other scripts, such as ²."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text.strip()) else None


def connection_reason(error: Exception) -> str:
    """Return the reason of a network error in the system's words, or else its text or its type."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return hide_password(getattr(cause, "strerror", None) or str(cause) or type(cause).__name__)
