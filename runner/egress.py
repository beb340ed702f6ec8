"""The one HTTP client for what leaves on behalf of flows: tasks, notifications, ``http()`` (``reliability.md`` S21).

Every address is resolved, checked and then connected to as checked; each redirect again. What a task makes of an
answer is elsewhere.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from namespaces.errors import LannerError

if TYPE_CHECKING:
    import httpx2

REDIRECTS = 5
_CHUNK = 1 << 16
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA = frozenset({ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200")})
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RequestFailed(LannerError):
    """A request could not be made or answered: refused address, no connection, time limit, answer too large."""

    code = "request_failed"
    status = 422


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which addresses may be reached. ``allow`` holds ``host:port`` texts that an operator let through in any case.

    ``loopback`` is what ``egress.loopback: auto`` came to: true while the server itself listens on loopback only.
    """

    loopback: bool = True
    private: bool = True
    allow: frozenset[str] = frozenset()

    def refusal(self, address: Address) -> str | None:
        """Why this address may not be reached, or None."""
        address = plain(address)
        if address in _METADATA or address.is_link_local:
            return "link-local and metadata addresses are closed"
        if address.is_unspecified or address.is_multicast or address == ipaddress.ip_address("255.255.255.255"):
            return "it is no address of a host"
        if address.is_loopback:
            return None if self.loopback else "loopback is closed (egress.loopback)"
        if address.is_private or (address.version == 4 and address in _SHARED):
            return None if self.private else "private addresses are closed (egress.private)"
        return "the address is reserved" if address.is_reserved else None


def plain(address: Address) -> Address:
    """The address behind IPv4-mapped, NAT64 and 6to4 spellings."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def resolve(host: str, port: int, rules: Rules) -> list[str]:
    """The addresses of a host, all of them permitted. Raises ``RequestFailed`` when one is not, or none is known."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestFailed(f"cannot resolve {host}: {reason}", code="unknown_host") from error
    texts = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    if f"{host}:{port}" in rules.allow:
        return texts
    for text in texts:
        address = ipaddress.ip_address(text)
        spelled = f"[{text}]:{port}" if address.version == 6 else f"{text}:{port}"
        if spelled in rules.allow:
            continue
        reason = rules.refusal(address)
        if reason is not None:
            raise RequestFailed(
                f"address not allowed: {plain(address)}",
                code="address_not_allowed",
                hint=f"{reason}; an operator can list {host}:{port} in egress.allow",
            )
    return texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One request. ``limit`` bounds the decoded answer in bytes, ``total_s`` all of it in seconds (None: no bound)."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] | None = None
    content: bytes | None = None
    data: Mapping[str, Any] | None = None
    files: Any = None
    auth: Any = None
    """None, (user, password) for Basic, or an httpx auth object."""
    connect_s: float | None = 30.0
    idle_s: float | None = 300.0
    total_s: float | None = None
    follow_redirects: bool = True
    verify: bool = True
    proxy: str | None = None
    limit: int = 10 << 20


@dataclass(slots=True, kw_only=True)
class Answer:
    """``body`` is empty when the bytes went to a sink; ``length`` counts them in any case."""

    url: str
    code: int
    headers: dict[str, list[str]]
    body: bytes
    length: int
    charset: str | None


class Egress:
    """Sends requests under one set of rules. Stateless; a connection lives for one request and its redirects."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()

    def send(
        self,
        request: Outgoing,
        *,
        sink: BinaryIO | None = None,
        cancelled: threading.Event | None = None,
        on_line: Callable[[str], bool] | None = None,
    ) -> Answer:
        """Send and read the whole answer, into ``sink`` when given, or line by line until ``on_line`` says False.

        Raises ``RequestFailed`` for everything but an answer; the status code is the caller's business.
        """
        import httpx2

        deadline = None if request.total_s is None else time.monotonic() + request.total_s
        try:
            with (
                self._client(request) as client,
                client.stream(
                    request.method,
                    # Given to the client, they would replace the query that the URL itself has.
                    httpx2.URL(request.url).copy_merge_params(request.params or {}),
                    headers=dict(request.headers),
                    content=request.content,
                    data=request.data,
                    files=request.files,
                    auth=request.auth if request.auth is not None else httpx2.USE_CLIENT_DEFAULT,
                ) as response,
            ):
                return self._read(response, request, sink, cancelled, on_line, deadline)
        except RequestFailed:
            raise
        except httpx2.TooManyRedirects as error:
            raise RequestFailed(f"more than {REDIRECTS} redirects", code="too_many_redirects") from error
        except httpx2.UnsupportedProtocol as error:
            raise RequestFailed(f"only http and https can be requested, not {request.url[:100]!r}") from error
        except httpx2.TimeoutException as error:
            raise RequestFailed(f"no answer in time from {_host(request.url)}", code="request_timeout") from error
        except httpx2.DecodingError as error:
            raise RequestFailed(f"the answer cannot be decoded: {error}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError, ValueError) as error:
            cause = error.__cause__ or error.__context__
            while cause is not None and not isinstance(cause, RequestFailed):
                cause = cause.__cause__ or cause.__context__
            if isinstance(cause, RequestFailed):
                raise cause from error
            raise RequestFailed(f"{_host(request.url)}: {error or type(error).__name__}") from error

    def _client(self, request: Outgoing) -> httpx2.Client:
        import httpx2

        transport = httpx2.HTTPTransport(verify=request.verify, trust_env=False, proxy=request.proxy)
        # The pool has no public parameter for this; the seam is httpcore2's documented ``network_backend``.
        pool: Any = transport._pool
        pool._network_backend = _backend(self.rules)
        if request.proxy is not None:
            host = httpx2.URL(request.url)
            resolve(host.host, host.port or (443 if host.scheme == "https" else 80), self.rules)
        return httpx2.Client(
            transport=transport,
            timeout=httpx2.Timeout(request.idle_s, connect=request.connect_s, pool=None),
            follow_redirects=request.follow_redirects,
            max_redirects=REDIRECTS,
            trust_env=False,
            headers={"User-Agent": "Lanner"},
        )

    def _read(
        self,
        response: httpx2.Response,
        request: Outgoing,
        sink: BinaryIO | None,
        cancelled: threading.Event | None,
        on_line: Callable[[str], bool] | None,
        deadline: float | None,
    ) -> Answer:
        parts: list[bytes] = []
        length = 0
        lines = _LineCutter(response.encoding or "utf-8") if on_line is not None else None
        for chunk in response.iter_bytes(_CHUNK if lines is None else None):
            length += len(chunk)
            if length > request.limit:
                raise RequestFailed(f"the answer is larger than {request.limit} bytes", code="answer_too_large")
            if cancelled is not None and cancelled.is_set():
                raise RequestFailed("the request was interrupted", code="interrupted")
            if deadline is not None and time.monotonic() > deadline:
                raise RequestFailed(f"the answer took longer than {request.total_s} s", code="request_timeout")
            if lines is not None and on_line is not None:
                if not all(on_line(line) for line in lines.feed(chunk)):
                    break
            elif sink is None:
                parts.append(chunk)
            else:
                sink.write(chunk)
        headers: dict[str, list[str]] = {}
        for name, value in response.headers.multi_items():
            headers.setdefault(name, []).append(value)
        return Answer(
            url=str(response.url),
            code=response.status_code,
            headers=headers,
            body=b"".join(parts),
            length=length,
            charset=response.charset_encoding,
        )

    def fetch(self, request: Mapping[str, Any]) -> object:
        """The function ``http()`` of expressions: parsed JSON, else text. Raises ``RequestFailed``, also from 400 on.

        ``request`` has uri, method, query, body, contentType, headers, options, accept.
        """
        import orjson

        body = request.get("body")
        content = None
        headers = {str(k): str(v) for k, v in (request.get("headers") or {}).items()}
        if body is not None:
            content = body.encode() if isinstance(body, str) else orjson.dumps(body, default=str)
            headers.setdefault("Content-Type", str(request.get("contentType") or "application/json"))
        headers.setdefault("Accept", str(request.get("accept") or "application/json"))
        options = request.get("options") or {}
        auth = options.get("auth") or {}
        if str(auth.get("type", "")).upper() == "BEARER":
            headers.setdefault("Authorization", f"Bearer {auth.get('token')}")
        answer = self.send(
            Outgoing(
                method=str(request.get("method") or "GET"),
                url=str(request["uri"]).replace(" ", "%20"),
                headers=headers,
                params=request.get("query"),
                content=content,
                auth=(str(auth["username"]), str(auth.get("password") or "")) if auth.get("username") else None,
                follow_redirects=bool(options.get("followRedirects", True)),
                total_s=30.0,
                idle_s=30.0,
            )
        )
        text = answer.body.decode(answer.charset or "utf-8", "replace")
        if answer.code >= 400:
            raise RequestFailed(f"http(): {_host(answer.url)} answered {answer.code}: {text[:200]}")
        try:
            return orjson.loads(answer.body) if text.strip() else text
        except orjson.JSONDecodeError:
            return text


class _LineCutter:
    def __init__(self, encoding: str) -> None:
        import codecs

        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        self._rest += self._decoder.decode(data)
        *lines, self._rest = self._rest.replace("\r\n", "\n").split("\n")
        return lines


def _host(url: str) -> str:
    """A URL without user, password and query, for messages."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "the URL"


def _backend(rules: Rules) -> Any:
    import httpcore2

    class CheckedBackend(httpcore2.SyncBackend):
        """Connects only to addresses that were checked, never to a name that could resolve anew."""

        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[Any] | None = None,
        ) -> httpcore2.NetworkStream:
            addresses = resolve(host, port, rules)
            for last, address in enumerate(addresses, 1 - len(addresses)):
                try:
                    return super().connect_tcp(address, port, timeout, local_address, socket_options)
                except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                    if last == 0:
                        raise
            raise RequestFailed(f"cannot resolve {host}", code="unknown_host")

        def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore2.NetworkStream:
            raise RequestFailed("sockets of this host cannot be requested")

    return CheckedBackend()
