"""How URLs are matched and built. Only what differs from Werkzeug's own way lives here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.routing import Rule


class LazyRule(Rule):
    """A rule that writes its URL-building function when it is first asked to build one.

    Werkzeug compiles two functions for each rule when it is added. With hundreds of rules, most of which only ever
    match, that is a tenth of the time a server needs to start.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        whole = super()._compile_builder
        name = "_build_unknown" if append_unknown else "_build"

        def first(rule: Rule, *values: Any, **named: Any) -> tuple[str, str]:
            build = whole(append_unknown).__get__(rule, None)
            setattr(rule, name, build)
            result: tuple[str, str] = build(*values, **named)
            return result

        return first


__all__ = ["LazyRule"]
