"""One kept HTTP connection, and a raw one for load generators that must not eat the processors they share."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import quote, urlencode

API = "/api/v1/main"


class Client:
    """``call`` answers with decoded JSON. Raises ``RuntimeError`` for a status of 400 and above."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def call(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> Any:
        headers = {"Content-Type": content_type} if content_type else {}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        data = response.read()
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {data[:300]!r}")
        return json.loads(data) if data[:1] in (b"{", b"[") else data

    def put_flow(self, source: str) -> None:
        self.call("POST", f"{API}/flows", source.encode(), "application/x-yaml")

    def put_flows(self, namespace: str, sources: list[str]) -> None:
        """Many flows of one namespace in one request."""
        path = f"{API}/flows/{quote(namespace)}?delete=false"
        self.call("POST", path, "\n---\n".join(sources).encode(), "application/x-yaml")

    def run(self, flow_id: str, *, wait: bool = True) -> dict[str, Any]:
        """Start a flow of the benchmark's namespace; the execution as it is in the answer."""
        found: dict[str, Any] = self.call("POST", f"{API}/executions/{NAMESPACE}/{flow_id}?wait={str(wait).lower()}")
        return found

    def finished(self, flow_id: str) -> int:
        """Executions of a flow that ended well."""
        query = {
            "filters[namespace][EQUALS]": NAMESPACE,
            "filters[flowId][EQUALS]": flow_id,
            "filters[state][EQUALS]": "SUCCESS",
            "size": 1,
        }
        total: int = self.call("GET", f"{API}/executions/search?{urlencode(query)}")["total"]
        return total


NAMESPACE = "bench"


class Raw:
    """Sends prepared bytes and reads an answer with a content length: a tenth of what ``http.client`` costs."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = self._connect()
        self._rest = b""

    def _connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def send(self, request: bytes) -> int:
        """One request; its status. Raises ``ConnectionError`` when the server hangs up."""
        self._socket.sendall(request)
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = data[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        while len(data) < end + 4 + length:
            data += self._more()
        self._rest = data[end + 4 + length :]
        return int(head[9:12])

    def _more(self) -> bytes:
        part = self._socket.recv(65536)
        if not part:
            raise ConnectionError("the server closed the connection")
        return part

    def close(self) -> None:
        self._socket.close()


def request_bytes(method: str, path: str, body: bytes = b"") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
