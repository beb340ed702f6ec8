"""What the parts of the parser share while one flow is read: findings, catalog, defaults, seen ids and markers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from namespaces.flows.catalog import Catalog, TypeEntry
from namespaces.flows.defaults import Defaults
from namespaces.flows.findings import Findings, report
from namespaces.flows.reader import Path


@dataclass(slots=True)
class Scope:
    """``task_ids`` and ``trigger_ids`` keep every id with its path, for the cross checks."""

    catalog: Catalog
    findings: Findings
    defaults: Defaults | None = None
    task_ids: list[tuple[str, Path]] = field(default_factory=list)
    older: dict[str, Path] = field(default_factory=dict)
    """Markers of language 1 that were met, with the place of the first."""
    newer: dict[str, Path] = field(default_factory=dict)
    """Markers of language 2."""

    def check(self, entry: TypeEntry, own: dict[str, Any], path: Path, shared: Collection[str]) -> dict[str, Any]:
        """Check the properties of a type; findings go where they belong. Returns the properties, text made text."""
        findings = self.findings
        errors, fitting = entry.check(own, lambda place, value: findings.text_at((*path, *place), value))
        if errors:
            report(findings, errors, path, entry, shared)
        return fitting

    def is_older(self, marker: str, path: Path) -> None:
        self.older.setdefault(marker, path)

    def is_newer(self, marker: str, path: Path) -> None:
        self.newer.setdefault(marker, path)

    def resolve(self, name: object, path: Path, kinds: tuple[str, ...], what: str) -> TypeEntry | None:
        """The entry of a written ``type``; a missing, unknown or unfitting one is a finding."""
        if not isinstance(name, str) or not name:
            if name is None:
                self.findings.required((*path, "type"))
            else:
                self.findings.error("F002", (*path, "type"), f"Invalid type: {name}")
            return None
        entry = self.catalog.resolve(name)
        if entry is not None and entry.kind in kinds:
            if entry.name != name:
                self._alias(name, entry, path)
            if entry.cls.deprecated:
                self.findings.warning("F101", (*path, "type"), f"{entry.short} is deprecated")
            return entry
        if entry is not None:
            self.findings.error("F002", (*path, "type"), f"Invalid type: {name} is a {entry.kind}, not a {what}")
            return None
        near = self.catalog.suggest(name, kinds)
        tail = f", did you mean {' or '.join(near)}?" if near else ""
        self.findings.error(
            "F002",
            (*path, "type"),
            f"Invalid type: {name}{tail}",
            hint="the plugin may not be installed on this server" if not near else "",
        )
        return None

    def _alias(self, name: str, entry: TypeEntry, path: Path) -> None:
        if not name.startswith("io."):
            return  # our own short form
        self.findings.warning("F101", (*path, "type"), f"type is deprecated: {name} is now {entry.name}")
        if name.startswith("io.kestra.core."):
            self.is_older(name, (*path, "type"))
