"""``X-Forwarded-*`` headers: believed from the proxies that ``server.trusted_proxies`` names, from nobody else."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

from namespaces.errors import ConfigurationError


class BehindProxy:
    """WSGI middleware: one hop of forwarding is taken over when the caller's address is a trusted one."""

    def __init__(self, app: Any, trusted: Iterable[str]) -> None:
        """``trusted`` are addresses or networks (``10.0.0.0/8``). Raises ``ConfigurationError``."""
        self._app = app
        self._fixed = ProxyFix(app, x_for=1, x_proto=1, x_host=1)
        try:
            self._trusted = tuple(ipaddress.ip_network(text, strict=False) for text in trusted)
        except ValueError as error:
            raise ConfigurationError(f"server.trusted_proxies: {error}") from error

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        app = self._fixed if self._trusts(environ.get("REMOTE_ADDR", "")) else self._app
        return app(environ, start_response)

    def _trusts(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)
