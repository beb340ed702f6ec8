"""Which units are kept at their last good version: grows to a fixpoint, at worst to today's state. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from namespaces.errors import Problem, Severity
from namespaces.ownership import owner_of
from sync.candidates import Candidate
from sync.inventory import Key
from sync.layouts import Kind

if TYPE_CHECKING:
    from sync.plan import Situation


@dataclass(slots=True)
class Holds:
    """``units`` are held; ``added`` are findings that holding itself brought, by path."""

    units: set[str] = field(default_factory=set)
    added: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    notes: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    """Warnings on files that are not held by them."""
    causes: dict[str, str] = field(default_factory=dict)
    """Unit to the path that held it first."""

    def has(self, candidate: Candidate) -> bool:
        return not self.units.isdisjoint(candidate.units)

    def because(self, candidate: Candidate) -> Problem:
        """The finding on a file that is fine itself."""
        cause = next((self.causes[unit] for unit in sorted(candidate.units) if unit in self.causes), "")
        return Problem("G061", f"kept at its last good version because of {cause}", line=1, column=1)

    def hold(self, candidate: Candidate, cause: str) -> bool:
        """Hold all units of the candidate; whether that was news."""
        fresh = candidate.units - self.units
        for unit in fresh:
            self.causes.setdefault(unit, cause)
        self.units |= fresh
        return bool(fresh)

    def note(self, path: str, problem: Problem) -> None:
        if problem not in self.notes.get(path, ()):
            self.notes[path] = (*self.notes.get(path, ()), problem)

    def add(self, path: str, problem: Problem) -> None:
        if problem not in self.added.get(path, ()):
            self.added[path] = (*self.added.get(path, ()), problem)


def hold(
    situation: Situation, found: Mapping[str, Candidate], ties: Mapping[str, str], guarded: frozenset[str]
) -> Holds:
    """Units with errors, and everything that cannot stand without them.

    ``guarded`` are namespaces whose deletions went over the guard (``G062``).
    """
    holds = Holds()
    for candidate in found.values():
        if candidate.invalid:
            holds.hold(candidate, candidate.path)
    for candidate in found.values():
        old = candidate.old.namespace if candidate.old is not None and candidate.old.applied else None
        if candidate.namespace in guarded or old in guarded:
            holds.hold(candidate, candidate.path)
            if candidate.entry is None:
                message = f"too many deletions in namespace '{old}': approve the plan to delete them"
                holds.add(candidate.path, Problem("G062", message, line=1, column=1))
    arriving: dict[Key, Candidate] = {c.identity: c for c in found.values() if c.arrives and c.identity is not None}

    @cache
    def homes() -> frozenset[str]:
        return frozenset(namespace for _, namespace, _ in (*arriving, *situation.inventory.by_key))

    grown = True
    while grown:
        grown = False
        for candidate in found.values():
            # A file that leaves one namespace for another cannot do half of it.
            if len(candidate.units) > 1 and holds.has(candidate):
                grown |= holds.hold(candidate, _cause(holds, candidate))
        for new_path, old_path in ties.items():
            new, old_end = found[new_path], found[old_path]
            if holds.has(new) != holds.has(old_end):
                held, other = (new, old_end) if holds.has(new) else (old_end, new)
                grown |= holds.hold(other, _cause(holds, held))
                holds.add(other.path, Problem("G061", f"held together with {held.path}", line=1, column=1))
        kept = _kept(found, holds) if holds.units else set()
        for candidate in found.values():
            if candidate.arrives and not holds.has(candidate) and candidate.identity in kept:
                # Only with one file as the unit: its old place is held and still defines it.
                grown |= holds.hold(candidate, candidate.path)
                message = "the file that defined it before is held"
                holds.add(candidate.path, Problem("G061", message, line=1, column=1))
            if candidate.references and candidate.arrives and not holds.has(candidate):
                grown |= _check_references(situation, found, arriving, homes, holds, candidate)
    return holds


def _kept(found: Mapping[str, Candidate], holds: Holds) -> set[Key]:
    """Identities that stay applied at held paths."""
    return {c.old.identity for c in found.values() if c.old is not None and c.old.applied and holds.has(c)}


def _cause(holds: Holds, candidate: Candidate) -> str:
    return next((holds.causes[unit] for unit in sorted(candidate.units) if unit in holds.causes), candidate.path)


def _check_references(
    situation: Situation,
    found: Mapping[str, Candidate],
    arriving: Mapping[Key, Candidate],
    homes: Callable[[], frozenset[str]],
    holds: Holds,
    candidate: Candidate,
) -> bool:
    """Hold the candidate when a subflow it calls will not be there. Whether something was held.

    ``homes`` are the namespaces this source has flows in. An allow list such as `**` makes no namespace its own: what
    lies elsewhere follows `unresolved_reference` (gitops.md 2.5 step 8).
    """
    for namespace, flow_id in candidate.references:
        key: Key = (Kind.FLOW, namespace, flow_id)
        coming = arriving.get(key)
        if coming is not None and not holds.has(coming):
            continue
        if _stays(situation, found, holds, key):
            continue
        name = f"{namespace}.{flow_id}"
        if coming is not None:
            message = f"calls '{name}', which is held because of {_cause(holds, coming)}"
            holds.add(candidate.path, Problem("G061", message, line=1, column=1))
            return holds.hold(candidate, _cause(holds, coming))
        ours = namespace in homes() and owner_of(situation.rules, namespace) == situation.source.name
        message = f"calls '{name}', which does not exist"
        if ours or situation.source.apply.unresolved_reference == "error":
            holds.add(candidate.path, Problem("G060", message, line=1, column=1))
            return holds.hold(candidate, candidate.path)
        holds.note(candidate.path, Problem("G060", message, line=1, column=1, severity=Severity.WARNING))
    return False


def _stays(situation: Situation, found: Mapping[str, Candidate], holds: Holds, key: Key) -> bool:
    """Whether the flow is applied now and still will be afterwards."""
    path = situation.inventory.by_key.get(key)
    if path is not None:
        candidate = found.get(path)
        return candidate is None or holds.has(candidate) or not candidate.replaces_old
    fact = situation.registry.get(key)
    return fact is not None and not fact.deleted
