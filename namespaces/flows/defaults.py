"""Plugin defaults (``flows.md`` 1.8): which ones fit a type and how they are laid under a task. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class PluginDefault:
    """``values`` for the type with that name or alias, or for every type whose name begins with it."""

    type: str
    values: Mapping[str, Any] = field(default_factory=dict)
    forced: bool = False


def deep_merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` wins; maps are merged, lists replaced."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            merged[key] = deep_merge(under, value)
        else:
            merged[key] = value
    return merged


class Defaults:
    """The defaults of all levels. ``levels`` begins with the flow's, then outwards (namespace, …, server)."""

    def __init__(self, levels: Sequence[Iterable[PluginDefault]], canonical: Callable[[str], str]) -> None:
        self._levels = [[(canonical(d.type), d) for d in level] for level in levels]
        self._known: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self.used: set[str] = set()

    def __bool__(self) -> bool:
        return any(self._levels)

    def for_type(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What lies under and what lies over the written properties of that canonical type."""
        if name not in self._known:
            under: dict[str, Any] = {}
            over: dict[str, Any] = {}
            # Nearest level last, so that it wins; the outermost forced level wins over all.
            for level in reversed(self._levels):
                under = deep_merge(under, self._of_level(level, name, forced=False))
            for level in self._levels:
                over = deep_merge(over, self._of_level(level, name, forced=True))
            self._known[name] = (under, over)
        return self._known[name]

    def apply(self, name: str, written: dict[str, Any], properties: Iterable[str]) -> dict[str, Any]:
        """The properties as written with the defaults laid under and the forced ones over them.

        A default for a property that the type does not have is left out: prefixes hit many types.
        """
        under, over = self.for_type(name)
        if not under and not over:
            return written
        known = set(properties)
        merged = deep_merge({k: v for k, v in under.items() if k in known}, written)
        return deep_merge(merged, {k: v for k, v in over.items() if k in known}) if over else merged

    def _of_level(self, level: list[tuple[str, PluginDefault]], name: str, *, forced: bool) -> dict[str, Any]:
        fitting = [(type_, d) for type_, d in level if d.forced is forced and name.startswith(type_)]
        self.used.update(d.type for _, d in fitting)
        exact = [d for type_, d in fitting if type_ == name]
        prefixed = [d for type_, d in fitting if type_ != name]
        merged: dict[str, Any] = {}
        for default in reversed([*exact, *prefixed]):  # the first match of a level wins
            merged = deep_merge(merged, default.values)
        return merged
