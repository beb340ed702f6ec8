"""An execution (in its JSON shape) as a tree of task runs for the terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from service.cli.output import STATE_STYLES, clean

if TYPE_CHECKING:
    from rich.tree import Tree

MARKS = {
    "SUCCESS": "✓",
    "WARNING": "!",
    "FAILED": "✗",
    "KILLED": "✗",
    "KILLING": "✗",
    "CANCELLED": "–",
    "SKIPPED": "–",
    "RUNNING": "●",
    "PAUSED": "‖",
}
MANY = 40
"""Children shown of one task run; a loop of thousands would scroll everything else away."""


def tree(execution: Mapping[str, Any]) -> Tree:
    """Task runs below the execution, in the order they started, with state, attempts and duration."""
    from rich.text import Text
    from rich.tree import Tree

    state = execution.get("state", {})
    head = Text(f"{clean(execution.get('namespace'))}.{clean(execution.get('flowId'))}  ", style="bold")
    head.append(clean(execution.get("id")), style="dim")
    head.append("  ")
    head.append(_label(state))
    root = Tree(head, guide_style="dim")
    children: dict[str | None, list[Mapping[str, Any]]] = defaultdict(list)
    runs = execution.get("taskRunList") or []
    known = {run.get("id") for run in runs}
    for run in runs:
        parent = run.get("parentTaskRunId")
        children[parent if parent in known else None].append(run)
    _add(root, None, children, 0)
    return root


def _add(branch: Tree, parent: str | None, children: Mapping[str | None, list[Mapping[str, Any]]], depth: int) -> None:
    from rich.text import Text

    listed = children.get(parent, [])
    for run in listed[:MANY]:
        line = Text(f"{clean(run.get('taskId'))} ")
        if run.get("value") is not None:
            value = clean(run["value"])
            line.append(f"[{value[:40]}{'…' if len(value) > 40 else ''}] ", style="dim")
        line.append(_label(run.get("state", {})))
        attempts = run.get("attempts") or []
        if len(attempts) > 1:
            line.append(f" {len(attempts)} attempts", style="yellow")
        below = branch.add(line)
        # A person reads a few levels; the deepest subtrees of generated flows would only recurse.
        if depth < 50:
            _add(below, run.get("id"), children, depth + 1)
    if len(listed) > MANY:
        branch.add(Text(f"… {len(listed) - MANY} more", style="dim"))


def _label(state: Mapping[str, Any]) -> Any:
    from rich.text import Text

    current = str(state.get("current", ""))
    label = Text(f"{MARKS.get(current, '·')} {current}", style=STATE_STYLES.get(current, "dim"))
    duration = seconds(state.get("duration"))
    if duration and current not in {"CREATED", "QUEUED"}:
        label.append(f" {duration}", style="dim")
    return label


def seconds(duration: Any) -> str:
    """``PT1M2.5S`` or seconds as ``62.5s``; an empty text when there is none."""
    import re

    if isinstance(duration, (int, float)):
        return f"{duration:.1f}s"
    match = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?", str(duration or ""))
    if match is None:
        return ""
    days, hours, minutes, rest = (float(part or 0) for part in match.groups())
    total = days * 86_400 + hours * 3600 + minutes * 60 + rest
    return f"{total * 1000:.0f}ms" if total < 1 else f"{total:.1f}s"
