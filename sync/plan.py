"""What applying a commit would do: one pure function from facts to a ``Plan``. No I/O of any kind here.

The same function serves the server, the dry run and ``lanner check``. Steps 8 to 11 of ``gitops.md`` 2.5.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from namespaces.errors import Problem, Severity
from namespaces.ownership import SourceRule
from sync.candidates import Candidate, candidates
from sync.changes import Changes
from sync.holds import Holds, hold
from sync.inventory import Inventory, Item, Key
from sync.layouts import Kind
from sync.model import Atomicity, GitSource
from sync.reading import Digest, Parsed


@dataclass(frozen=True, slots=True)
class Fact:
    """What the registry knows of a flow or file that the plan touches or refers to.

    ``owner`` is a source's name, None for the API; ``released`` when that source is no longer configured.
    """

    owner: str | None
    deleted: bool = False
    checksum: str = ""
    released: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything a plan depends on."""

    source: GitSource
    rules: tuple[SourceRule, ...]
    commit: str
    policy: str
    changes: Changes
    inventory: Inventory
    contents: Mapping[str, Parsed | Digest]
    registry: Mapping[Key, Fact]
    same: frozenset[str] = frozenset()
    """Paths whose flow text is, but for line ends, what the registry holds already."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """New path to old path where git sees likeness."""
    rewritten: bool = False
    approved: str | None = None
    """Hash of the plan that was approved."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one key: create, update, delete, move, rename, unchanged, held or invalid."""

    action: str
    kind: str
    namespace: str
    key: str
    path: str
    mode: str = ""
    oid: str | None = None
    old_path: str | None = None
    renamed_from: str | None = None
    """Old ``namespace.id`` of a renamed flow."""
    renamed_to: str | None = None
    """Set on the deletion of the old end."""
    problems: tuple[Problem, ...] = ()

    @property
    def identity(self) -> Key:
        return self.kind, self.namespace, self.key


@dataclass(frozen=True, slots=True)
class Plan:
    """``blocked`` names the reason why the whole plan waits, empty when it may be applied.

    ``items`` and ``removed`` bring the inventory to the state after the plan.
    """

    source: str
    commit: str
    hash: str
    steps: tuple[Step, ...]
    items: tuple[Item, ...] = ()
    removed: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    """Namespaces that are kept at their last good version."""
    blocked: str = ""
    message: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def acts(self) -> bool:
        """Whether the registry would change."""
        return any(step.action not in ("unchanged", "held", "invalid") for step in self.steps)


def plan(situation: Situation) -> Plan:
    """The plan for one commit. Never raises because of what the repository holds."""
    source, inventory = situation.source, situation.inventory
    found = candidates(situation)
    ties = _ties(situation, found)
    holds = hold(situation, found, ties, frozenset())
    intended = _steps(situation, found, holds, ties)
    digest = _hash(situation, intended)
    blocked, message = _guards(situation, found, intended, holds)
    steps = intended
    if not blocked and situation.approved != digest:
        over = _namespaces_over_the_guard(source, inventory, intended)
        if over and source.apply.atomicity is Atomicity.COMMIT:
            blocked, message = "DeleteGuard", f"too many deletions in {', '.join(sorted(over))}"
        elif over:
            holds = hold(situation, found, ties, frozenset(over))
            steps = _steps(situation, found, holds, ties)
    items, removed = _inventory_after(situation, found, holds, ties)
    return Plan(
        source=source.name,
        commit=situation.commit,
        hash=digest,
        steps=tuple(steps),
        items=tuple(items),
        removed=tuple(removed),
        held=tuple(sorted({c.namespace for c in found.values() if holds.has(c) and c.namespace})),
        blocked=blocked,
        message=message,
        counts=dict(Counter(step.action for step in steps)),
    )


def _ties(situation: Situation, found: Mapping[str, Candidate]) -> dict[str, str]:
    """New path to old path of what is one thing under two names: both ends are applied together or not at all."""
    gone = {c.path: c for c in found.values() if c.old is not None and c.old.applied and c.replaces_old}
    ties: dict[str, str] = {}
    by_key = {c.old.identity: path for path, c in gone.items() if c.old is not None}
    by_oid: dict[tuple[str, str | None], list[str]] = {}
    for path, c in gone.items():
        if c.old is not None:
            by_oid.setdefault((c.old.kind, c.old.oid), []).append(path)
    taken: set[str] = set()
    arrivals = [c for c in found.values() if c.entry is not None and not c.ignored and c.placed.kind is Kind.FLOW]
    # Surest first: same identity elsewhere, same path with another id, same content, then git's likeness.
    for rule in ("stored", "identity", "path", "content", "likeness"):
        for c in arrivals:
            if c.path in ties or (c.old is not None and c.old.applied and not c.replaces_old):
                continue
            old_path: str | None = None
            if rule == "stored":
                old_path = c.old.tied if c.old is not None and c.old.tied else None
            elif rule == "identity":
                old_path = by_key.get(c.identity) if c.identity else None
            elif rule == "path":
                old_path = c.path if c.path in gone and c.identity else None
            elif rule == "content" and c.entry is not None:
                same = [p for p in by_oid.get((c.placed.kind, c.entry.oid), ()) if p not in taken]
                old_path = same[0] if same else None
            elif rule == "likeness":
                old_path = situation.renames.get(c.path)
            if old_path is not None and old_path in gone and old_path not in taken:
                ties[c.path] = old_path
                taken.add(old_path)
    return ties


def _steps(situation: Situation, found: Mapping[str, Candidate], holds: Holds, ties: Mapping[str, str]) -> list[Step]:
    steps: list[Step] = []
    renamed: dict[str, str] = {}
    arriving = {c.identity for c in found.values() if c.arrives and not holds.has(c)}
    ordered = sorted(found.values(), key=lambda c: c.path)
    for c in ordered:
        if holds.has(c):
            steps.append(_held_step(c, holds))
        elif c.arrives:
            old_path = ties.get(c.path)
            steps.append(_arrival(situation, found, holds, c, old_path))
            if old_path is not None:
                renamed[old_path] = f"{c.namespace}.{c.key}"
        elif c.ignored and c.problems:
            steps.append(Step("unchanged", c.placed.kind, c.namespace, c.key, c.path, problems=c.problems))
    for c in ordered:
        old = c.old
        if holds.has(c) or old is None or not old.applied or not c.replaces_old or old.identity in arriving:
            continue
        to = renamed.get(c.path)
        action = "delete" if situation.source.apply.prune or to else "unchanged"
        steps.append(Step(action, old.kind, old.namespace, old.key, c.path, oid=old.oid, renamed_to=to))
    return steps


def _arrival(
    situation: Situation, found: Mapping[str, Candidate], holds: Holds, c: Candidate, old_path: str | None
) -> Step:
    assert c.entry is not None
    fact = situation.registry.get(c.identity) if c.identity else None
    exists = fact is not None and not fact.deleted
    content = situation.contents.get(c.path)
    renamed_from: str | None = None
    old = found[old_path].old if old_path is not None else None
    if old is not None and old.identity != c.identity:
        action = "rename"
        renamed_from = f"{old.namespace}.{old.key}"
    elif not exists:
        action = "create"
    elif c.path in situation.same:
        action = "move" if old is not None and old.path != c.path else "unchanged"
    elif isinstance(content, Digest) and fact is not None and content.sha256 == fact.checksum and not c.mode_changed:
        action = "unchanged"
    else:
        action = "update"
    return Step(
        action, c.placed.kind, c.namespace, c.key, c.path, c.entry.mode, c.entry.oid,
        old_path if old_path != c.path else None, renamed_from,
        problems=(*c.problems, *holds.notes.get(c.path, ())),
    )  # fmt: skip


def _held_step(c: Candidate, holds: Holds) -> Step:
    problems = (*c.problems, *holds.added.get(c.path, ()))
    wrong = any(problem.severity is Severity.ERROR for problem in c.problems)
    if not wrong and not holds.added.get(c.path):
        problems = (*problems, holds.because(c))
    namespace, key = (c.namespace, c.key) if c.key else (c.old.namespace, c.old.key) if c.old else (c.namespace, "")
    oid = c.entry.oid if c.entry is not None else None
    return Step("invalid" if wrong else "held", c.placed.kind, namespace, key, c.path, oid=oid, problems=problems)


def _inventory_after(
    situation: Situation, found: Mapping[str, Candidate], holds: Holds, ties: Mapping[str, str]
) -> tuple[list[Item], list[str]]:
    items: list[Item] = []
    removed: list[str] = []
    inventory = situation.inventory
    arriving = {c.identity for c in found.values() if c.arrives and not holds.has(c)}
    for identity in arriving:
        # A flow that was kept without its file (prune off) has one again, elsewhere.
        before = inventory.by_key.get(identity) if identity is not None else None
        if before is not None and before not in found and inventory.by_path[before].state == "kept":
            removed.append(before)
    for c in found.values():
        old, entry = c.old, c.entry
        if holds.has(c):
            if entry is None and (old is None or not old.applied):
                removed.append(c.path)
                continue
            keep = old if old is not None and old.applied else None
            step = _held_step(c, holds)
            items.append(
                Item(
                    path=c.path,
                    kind=keep.kind if keep else c.placed.kind,
                    namespace=keep.namespace if keep else c.namespace,
                    key=keep.key if keep else c.key,
                    mode=entry.mode if entry is not None else keep.mode if keep else "",
                    oid=keep.oid if keep else None,
                    seen=entry.oid if entry is not None else None,
                    state="held",
                    problems=step.problems,
                    tied=ties.get(c.path, "") if ties.get(c.path) != c.path else "",
                )
            )
        elif entry is None:
            if old is not None and old.applied and not situation.source.apply.prune and old.identity not in arriving:
                items.append(
                    Item(c.path, old.kind, old.namespace, old.key, old.mode, old.oid, None, "kept", old.problems)
                )
            else:
                removed.append(c.path)
        elif c.ignored:
            items.append(
                Item(c.path, c.placed.kind, c.namespace, "", entry.mode, None, entry.oid, "ignored", c.problems)
            )
        else:
            warnings = (*c.problems, *holds.notes.get(c.path, ()))
            items.append(
                Item(c.path, c.placed.kind, c.namespace, c.key, entry.mode, entry.oid, entry.oid, "ok", warnings)
            )
    return items, removed


def _guards(
    situation: Situation, found: Mapping[str, Candidate], steps: Iterable[Step], holds: Holds
) -> tuple[str, str]:
    """Reason and sentence when the plan waits as a whole."""
    source, inventory = situation.source, situation.inventory
    steps = list(steps)
    if source.apply.atomicity is Atomicity.COMMIT and holds.units:
        return "Invalid", "the commit holds invalid files and `apply.atomicity` is commit: nothing is applied"
    if situation.approved is not None and situation.approved == _hash(situation, steps):
        return "", ""
    if situation.rewritten and source.apply.on_rewrite == "block":
        return "Rewritten", "the branch was rewritten (force push or moved tag); approve the plan to follow it"
    before = inventory.applied(Kind.FLOW)
    if before and not source.apply.allow_empty and not _flows_in_tree(inventory, found):
        return "EmptyTree", f"the commit holds no flow at all, {before} are applied; approve the plan to delete them"
    deletions = [step for step in steps if _is_loss(step)]
    why = _over(source, len(deletions), inventory.applied())
    if why:
        return "DeleteGuard", f"the commit deletes {len(deletions)} of {inventory.applied()} items: {why}"
    acts = any(step.action not in ("unchanged", "held", "invalid") for step in steps)
    if source.apply.mode == "manual" and acts:
        return "Manual", "`apply.mode` is manual: approve the plan to apply it"
    return "", ""


def _flows_in_tree(inventory: Inventory, found: Mapping[str, Candidate]) -> bool:
    if any(c.entry is not None and c.placed.kind is Kind.FLOW and not c.ignored for c in found.values()):
        return True
    return any(
        item.seen is not None and item.kind == Kind.FLOW and item.state != "ignored" and path not in found
        for path, item in inventory.by_path.items()
    )


def _namespaces_over_the_guard(source: GitSource, inventory: Inventory, steps: Iterable[Step]) -> set[str]:
    lost = Counter(step.namespace for step in steps if _is_loss(step))
    if not lost:
        return set()
    present = Counter(item.namespace for item in inventory.by_path.values() if item.applied)
    return {namespace for namespace, count in lost.items() if _over(source, count, present[namespace])}


def _is_loss(step: Step) -> bool:
    """A deletion that is not the old end of a rename."""
    return step.action == "delete" and step.renamed_to is None


def _over(source: GitSource, deletions: int, present: int) -> str:
    guard = source.apply.guard
    if deletions > guard.max_deletes:
        return f"more than guard.max_deletes ({guard.max_deletes})"
    if present >= guard.min_items_for_percent and deletions * 100 > guard.max_delete_percent * present:
        return f"more than guard.max_delete_percent ({guard.max_delete_percent} %)"
    return ""


def _hash(situation: Situation, steps: Iterable[Step]) -> str:
    lines = [situation.source.name, situation.commit, situation.policy]
    lines += sorted(
        "\x1f".join((step.action, step.kind, step.namespace, step.key, step.path, step.oid or "")) for step in steps
    )
    return hashlib.sha256("\x1e".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
