"""The web pages: server-rendered, working without scripts. A view parses, calls a function of a room, renders."""

from __future__ import annotations

from service.ui import (  # noqa: F401  - importing a module registers its pages
    assets,
    execute,
    executionactions,
    executionlist,
    executionpages,
    flowlist,
    flowpages,
    live,
    login,
    logpages,
    syncpages,
    triggerlist,
)
from service.ui.errors import draw_error
from service.ui.site import ENDPOINTS, blueprint

UPLOADS = frozenset({"ui.execute", "ui.execute_fields", "ui.resume", "ui.review"})
"""Endpoints whose forms may carry files."""

__all__ = ["ENDPOINTS", "UPLOADS", "blueprint", "draw_error"]
