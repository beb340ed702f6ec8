"""Each touched file with its identity, its unit and every finding on it: step 8 of ``gitops.md`` 2.5. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from namespaces.errors import Problem, Severity
from namespaces.ownership import owner_of, why_not_a_namespace
from sync.changes import Changes, Touched
from sync.inventory import Entry, Inventory, Item, Key
from sync.layouts import Kind, Placed, place
from sync.model import Atomicity, Layout
from sync.reading import Digest, Parsed

if TYPE_CHECKING:
    from sync.plan import Situation

_ID_LINE = re.compile(r"^[\"']?id[\"']?\s*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One touched file. ``key`` is empty where no identity could be read."""

    path: str
    entry: Entry | None
    placed: Placed
    old: Item | None
    namespace: str
    key: str
    units: frozenset[str]
    problems: tuple[Problem, ...] = ()
    ignored: bool = False
    references: tuple[tuple[str, str], ...] = ()

    @property
    def identity(self) -> Key | None:
        return (self.placed.kind, self.namespace, self.key) if self.key and self.entry is not None else None

    @property
    def invalid(self) -> bool:
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    @property
    def arrives(self) -> bool:
        """Whether the plan may apply what the new tree holds here."""
        return self.entry is not None and not self.ignored and not self.invalid and bool(self.key)

    @property
    def replaces_old(self) -> bool:
        """Whether what was applied from this path is no longer here."""
        if self.old is None or not self.old.applied:
            return False
        if self.entry is None or self.ignored:
            return True
        return self.identity is not None and self.identity != self.old.identity

    @property
    def mode_changed(self) -> bool:
        return self.old is not None and self.entry is not None and self.old.mode != self.entry.mode


def widen(changes: Changes, contents: Mapping[str, Parsed | Digest], inventory: Inventory) -> Changes:
    """The changes, and every unchanged file that claims an identity which a touched one claims too.

    They are read as well, so that both places of a duplicate can be named.
    """
    more: dict[str, Touched] = {}
    for path, touched in changes.touched.items():
        content = contents.get(path)
        if not isinstance(content, Parsed) or touched.entry is None or not content.id:
            continue
        namespace = touched.placed.namespace or content.namespace
        other = inventory.by_key.get((Kind.FLOW, namespace, content.id))
        if other is not None and other != path and other not in changes.touched:
            item = inventory.by_path[other]
            if item.seen is not None:
                placed = place(other, changes.layout, touched.placed.namespace) or Placed(Kind.FLOW, item.namespace)
                more[other] = Touched(other, Entry(other, item.mode, item.seen), placed, again=True)
    return replace(changes, touched={**changes.touched, **more}) if more else changes


def candidates(situation: Situation) -> dict[str, Candidate]:
    """All touched files, with ownership and duplicates judged over the whole tree."""
    found = {path: _candidate(situation, touched) for path, touched in situation.changes.touched.items()}
    for path, problem in _duplicates(situation, found):
        found[path] = replace(found[path], problems=(*found[path].problems, problem))
    return found


def _candidate(situation: Situation, touched: Touched) -> Candidate:
    old = situation.inventory.by_path.get(touched.path)
    placed, content = touched.placed, situation.contents.get(touched.path)
    problems = list(touched.problems)
    ignored = False
    references: tuple[tuple[str, str], ...] = ()
    namespace = placed.namespace or (old.namespace if old is not None else "")
    key = placed.name or (old.key if old is not None else "")
    if touched.entry is None:
        namespace, key = (old.namespace, old.key) if old is not None else (namespace, "")
    elif placed.kind not in (Kind.FLOW, Kind.FILE):
        ignored = not problems
        key = ""
        if ignored:
            name = touched.path.rpartition("/")[2]
            problems.append(Problem("", f"{name} is not read by this version", severity=Severity.INFO))
    elif isinstance(content, Parsed):
        ignored = content.empty or (situation.changes.layout is Layout.FLAT and not content.is_flow)
        if ignored:
            problems = [p for p in content.problems if p.code == "G102"] if content.empty else []
            key = ""
        else:
            problems += content.problems
            references = content.references
            key = content.id
            namespace = _namespace(situation, placed, content, problems)
            _lint_name(touched.path, content, problems)
    elif isinstance(content, Digest):
        problems += content.problems
    if touched.entry is not None and not ignored and namespace:
        problems += _rights(situation, placed, namespace, key, content)
    return Candidate(
        path=touched.path,
        entry=touched.entry,
        placed=placed,
        old=old,
        namespace=namespace,
        key=key,
        units=_units(situation, touched.path, namespace, old),
        problems=tuple(problems),
        ignored=ignored,
        references=references,
    )


def _units(situation: Situation, path: str, namespace: str, old: Item | None) -> frozenset[str]:
    atomicity = situation.source.apply.atomicity
    if atomicity is Atomicity.COMMIT:
        return frozenset({"*"})
    if atomicity is Atomicity.FILE:
        return frozenset({f"/{path}"})
    units = {namespace} if namespace and not why_not_a_namespace(namespace) else set()
    if old is not None and old.applied:
        units.add(old.namespace)
    # A file without a readable namespace (flat layout) concerns nothing but itself.
    return frozenset(units) or frozenset({f"/{path}"})


def _namespace(situation: Situation, placed: Placed, content: Parsed, problems: list[Problem]) -> str:
    folder = placed.namespace
    if folder is None or content.namespace in ("", folder):
        return folder or content.namespace
    mode = situation.source.apply.namespace_mismatch
    if mode == "yaml":
        return content.namespace
    line, column = content.namespace_at
    if mode == "rewrite":
        message = f"the text names namespace '{content.namespace}', the folder's '{folder}' is used"
        problems.append(Problem("G011", message, line=line, column=column, severity=Severity.WARNING))
    else:
        message = f"namespace '{content.namespace}' differs from the folder's '{folder}'"
        hint = "remove the line, correct it, or move the file"
        problems.append(Problem("G010", message, line=line, column=column, hint=hint))
    return folder


def _lint_name(path: str, content: Parsed, problems: list[Problem]) -> None:
    stem = path.rpartition("/")[2].rpartition(".")[0]
    if content.flow is not None and stem != content.id:
        message = f"the file is named '{stem}', its flow '{content.id}'"
        problems.append(Problem("G101", message, line=1, column=1, severity=Severity.WARNING))


def _rights(
    situation: Situation, placed: Placed, namespace: str, key: str, content: Parsed | Digest | None
) -> list[Problem]:
    source = situation.source
    if why_not_a_namespace(namespace):
        return []
    line, column = content.namespace_at if isinstance(content, Parsed) else (1, 1)
    owner = owner_of(situation.rules, namespace)
    if owner != source.name:
        other = f"it belongs to source '{owner}'" if owner else "it is not in its `namespaces`"
        message = f"source '{source.name}' may not write namespace '{namespace}': {other}"
        return [Problem("G040", message, line=line, column=column, hint="ask an operator to change the allow list")]
    fact = situation.registry.get((placed.kind, namespace, key))
    if fact is None or fact.deleted or fact.owner == source.name:
        return []
    if source.apply.adopt and (fact.owner is None or fact.released):
        return []
    what = f"{placed.kind} '{namespace}.{key}'" if placed.kind is Kind.FLOW else f"file '{key}' of '{namespace}'"
    who = f"source '{fact.owner}'" if fact.owner else "the API"
    line = _id_line(content) if isinstance(content, Parsed) else 1
    hint = "delete it there first" + (", or set apply.adopt: true" if fact.owner is None or fact.released else "")
    return [Problem("G013", f"{what} is already managed by {who}", line=line, column=1, hint=hint)]


def _duplicates(situation: Situation, found: Mapping[str, Candidate]) -> list[tuple[str, Problem]]:
    claims: dict[Key, list[str]] = {}
    for candidate in found.values():
        if candidate.identity is not None and not candidate.ignored and candidate.placed.kind is Kind.FLOW:
            claims.setdefault(candidate.identity, []).append(candidate.path)
    problems: list[tuple[str, Problem]] = []
    for (_, namespace, key), paths in claims.items():
        if len(paths) < 2:
            continue
        places = {path: f"{path}:{_id_line(situation.contents.get(path))}" for path in sorted(paths)}
        for path in paths:
            others = ", ".join(place for other, place in places.items() if other != path)
            message = f"flow '{namespace}.{key}' is also defined in {others}"
            line = _id_line(situation.contents.get(path))
            hint = "keep one of them; neither is applied, the last good version stays"
            problems.append((path, Problem("G012", message, line=line, column=1, hint=hint)))
    return problems


def _id_line(content: Parsed | Digest | None) -> int:
    found = _ID_LINE.search(content.text) if isinstance(content, Parsed) else None
    return content.text.count("\n", 0, found.start()) + 1 if found and isinstance(content, Parsed) else 1
