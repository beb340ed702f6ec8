"""The command line's HTTP client: where the server is, who is calling, and errors in the server's own words."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from namespaces.errors import ConfigurationError, LannerError
from service.cli.contexts import current

if TYPE_CHECKING:
    import httpx2

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_S = 60.0
PAGE = 100


class CallFailed(LannerError):
    """The server answered with an error; ``http_status`` is its status."""

    code = "call_failed"

    def __init__(self, message: str, http_status: int, *, code: str = "", hint: str = "") -> None:
        super().__init__(message, code=code or None, hint=hint)
        self.http_status = http_status


class Unreachable(LannerError):
    """No server answered."""

    code = "unreachable"


@dataclass(frozen=True, slots=True)
class Target:
    """Which server, with which credentials."""

    url: str
    token: str | None = None
    user: str | None = None
    password: str | None = None


def target(environ: Mapping[str, str] = os.environ) -> Target:
    """From ``LANNER_URL`` with ``LANNER_TOKEN`` or ``LANNER_USER``/``LANNER_PASSWORD``, else the current context."""
    kept = current(environ.get("LANNER_CONTEXT"))
    # A token of one server must not travel to another: the context's credentials go with the context's URL only.
    url = environ.get("LANNER_URL")
    if url and url != kept.get("url"):
        kept = {}
    return Target(
        url=(url or kept.get("url") or DEFAULT_URL).rstrip("/"),
        token=environ.get("LANNER_TOKEN") or kept.get("token"),
        user=environ.get("LANNER_USER") or kept.get("user"),
        password=environ.get("LANNER_PASSWORD") or kept.get("password"),
    )


class Client:
    """Calls below ``/api/v1``. Every method raises ``CallFailed`` or ``Unreachable``."""

    def __init__(self, where: Target | None = None) -> None:
        import httpx2

        self._httpx = httpx2
        self.target = where or target()
        headers = {"Accept": "application/json"}
        auth = None
        if self.target.token:
            headers["Authorization"] = f"Bearer {self.target.token}"
        elif self.target.user:
            auth = httpx2.BasicAuth(self.target.user, self.target.password or "")
        if not self.target.url.startswith(("http://", "https://")):
            raise ConfigurationError(f"'{self.target.url}' is no server address", hint="give http:// or https://")
        self._http = httpx2.Client(
            base_url=f"{self.target.url}/api/v1/", headers=headers, auth=auth, timeout=TIMEOUT_S, trust_env=False
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One request; ``path`` is below ``/api/v1/``."""
        try:
            response = self._http.request(method, path.lstrip("/"), **options)
        except self._httpx.TimeoutException as error:
            raise Unreachable(f"{self.target.url} did not answer in time", hint="try again") from error
        except self._httpx.TransportError as error:
            raise Unreachable(
                f"no server answers at {self.target.url}",
                hint="start one with `lanner serve`, or set LANNER_URL or a context",
            ) from error
        if response.status_code >= 300:
            raise self._failure(response)
        return response

    def json(self, method: str, path: str, **options: Any) -> Any:
        response = self.call(method, path, **options)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise CallFailed(f"{self.target.url} is not a Lanner server", response.status_code) from error

    def pages(self, path: str, params: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
        """Rows of a paged listing, ``limit`` at most."""
        rows: list[dict[str, Any]] = []
        page = 1
        while len(rows) < limit:
            size = min(PAGE, limit)
            answer = self.json("GET", path, params={**_given(params), "page": page, "size": size})
            found = answer.get("results", []) if isinstance(answer, dict) else answer
            rows += found
            if len(found) < size:
                break
            page += 1
        return rows[:limit]

    def events(self, path: str, **options: Any) -> Iterator[tuple[str, Any]]:
        """A server-sent event stream as (id, data)."""
        timeout = self._httpx.Timeout(TIMEOUT_S, read=None)
        try:
            with self._http.stream("GET", path.lstrip("/"), timeout=timeout, **options) as response:
                if response.status_code >= 300:
                    response.read()
                    raise self._failure(response)
                kind = ""
                for line in response.iter_lines():
                    if line.startswith("id:"):
                        kind = line[3:].strip()
                    elif line.startswith("data:"):
                        yield kind, json.loads(line[5:])
        except self._httpx.TransportError as error:
            raise Unreachable(f"the connection to {self.target.url} ended", hint="try again") from error

    def _failure(self, response: httpx2.Response) -> CallFailed:
        status = response.status_code
        if status == 401:
            return CallFailed(
                f"{self.target.url} wants a login",
                status,
                code="unauthorized",
                hint="set LANNER_TOKEN, or LANNER_USER and LANNER_PASSWORD",
            )
        try:
            body = response.json()
        except ValueError:
            body = {}
        if not isinstance(body, dict):
            body = {}
        message = str(body.get("message") or f"{self.target.url} answered {status} {response.reason_phrase}".strip())
        return CallFailed(message, status, code=str(body.get("code") or ""), hint=str(body.get("hint") or ""))


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in params.items() if value not in (None, "", [])}


def segment(text: str) -> str:
    """One path segment, percent-encoded."""
    from urllib.parse import quote

    return quote(text, safe="")
