"""How a resource's routes are registered: with the tenant ``main`` and without it, one endpoint for both.

Which endpoint asks for which permission is decided in ``service/auth/endpoints.py``, not here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Blueprint

View = TypeVar("View", bound=Callable[..., Any])

BASE = "/api/v1"
TENANT = "/api/v1/main"


class Resource(Blueprint):
    """A blueprint whose paths are given below ``/api/v1``; each answers with and without the tenant segment.

    Other tenants have no rule and are therefore 404.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, f"service.api.{name}")

    def on(self, methods: str, *paths: str) -> Callable[[View], View]:
        """Answer ``methods`` (blank-separated) on each of the paths, under the endpoint ``<resource>.<function>``."""

        def register(view: View) -> View:
            for path in paths:
                for base in (TENANT, BASE):
                    self.add_url_rule(base + path, view.__name__, view, methods=methods.split())
            return view

        return register
