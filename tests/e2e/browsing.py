"""Debian's chromium under Playwright; breaking the policy, an error or a foreign request fails a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
]


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Watch:
    """What went wrong on the pages of a context. ``allowed`` are statuses of our own that a test provokes."""

    def __init__(self, context: Any, origin: str) -> None:
        self.faults: list[str] = []
        self.allowed: set[int] = set()
        self.requests: list[str] = []
        self._origin = urlsplit(origin).netloc
        context.on("console", self._console)
        context.on("weberror", lambda error: self.faults.append(f"error: {error.error}"))
        context.on("request", self._request)
        context.on("response", self._response)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            text = str(message.text)
            # Chromium reports each 4xx it loads; those a test asks for are told by the status.
            if "Failed to load resource" in text and any(str(status) in text for status in self.allowed):
                return
            self.faults.append(f"console {message.type}: {text[:300]}")

    def _request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        self.requests.append(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self._origin:
            self.faults.append(f"foreign request: {request.url}")

    def _response(self, response: Any) -> None:
        if response.status >= 400 and response.status not in self.allowed:
            self.faults.append(f"{response.status} {response.url}")
