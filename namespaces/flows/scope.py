"""What the parts of the parser share while one flow is read: findings, catalog, defaults, seen ids and markers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from namespaces.flows.catalog import Catalog, TypeEntry
from namespaces.flows.defaults import Defaults
from namespaces.flows.findings import Findings, report
from namespaces.flows.policies import Chain, refs_of
from namespaces.flows.reader import Path


@dataclass(slots=True)
class Scope:
    """``task_ids`` and ``trigger_ids`` keep every id with its path, for the cross checks."""

    catalog: Catalog
    findings: Findings
    defaults: Defaults | None = None
    policies: Chain | None = None
    violations: list[str] = field(default_factory=list)
    """What policies forbid about this flow: it may be read, but not started."""
    task_ids: list[tuple[str, Path]] = field(default_factory=list)
    lenient: bool = False
    """Read a stored flow: what a policy forbids does not make it unreadable."""
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

    def laid(self, entry: TypeEntry, written: dict[str, Any], known: Collection[str], path: Path) -> dict[str, Any]:
        """A task, trigger, condition or runner as written, with plugin defaults and policies laid over it."""
        merged = written
        if self.defaults is not None:
            merged = self.defaults.apply(entry.name, written, known)
        return merged if self.policies is None else self.ruled("PLUGIN", written, merged, known, path)

    def ruled(
        self, on: str, written: dict[str, Any], merged: dict[str, Any], known: Collection[str] | None, path: Path
    ) -> dict[str, Any]:
        """What the policies make of a map; what they forbid is a finding, and a reason not to run the flow."""
        if self.policies is None:
            return merged
        for ref in self.policies.unknown(refs_of(written)):
            self.findings.warning("F117", (*path, "policyRefs"), f"the policy '{ref}' is not known here: it is ignored")
        result, breaches = self.policies.changed(on, written, merged, known)
        for breach in (*breaches, *self.policies.breaches(on, written, result)):
            place = (*path, *breach.path)
            if not breach.blocks:
                self.findings.warning("F118", place, breach.message)
                continue
            self.violations.append(breach.message)
            if not self.lenient:
                self.findings.error("F035", place, breach.message)
        return result

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
