"""Which file of a repository is what: the four layouts of ``gitops.md`` 2.2. Pure; paths are relative to ``path``."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from namespaces.globs import any_path
from namespaces.ownership import why_not_a_namespace
from sync.model import Layout

RESERVED = frozenset({"flows", "files"})
_SETTINGS = {"namespace.yaml": "namespace", "namespace.yml": "namespace", "kv.yaml": "kv", "kv.yml": "kv"}


class Kind(StrEnum):
    FLOW = "flow"
    FILE = "file"
    NAMESPACE = "namespace"
    KV = "kv"
    SECRET = "secret"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Placed:
    """What a path is. ``namespace`` is None where the YAML decides (flat layout).

    ``name`` is the file's path within the namespace (``/sql/load.sql``) and empty for a flow; ``folder`` is the
    folder that stands for the namespace, so that two spellings of one namespace can be told.
    """

    kind: Kind
    namespace: str | None
    name: str = ""
    folder: str = ""
    fault: str = ""
    """Why the namespace folder cannot be one (``G036``)."""


def detect(paths: Iterable[str]) -> Layout:
    """The layout of a tree: the first rule that matches (``gitops.md`` 2.2)."""
    tenant = tasks = False
    for path in paths:
        parts = path.split("/")
        if parts[0] == "namespaces" and len(parts) > 1:
            return Layout.LANNER
        if len(parts) == 3 and parts[1] == "flows" and is_yaml(parts[2]) and not parts[0].startswith("_"):
            tenant = True
        elif parts[0] in ("_flows", "_files") and len(parts) > 1:
            tasks = True
    if tenant:
        return Layout.KESTRA_TENANT
    return Layout.KESTRA_TASKS if tasks else Layout.FLAT


def is_yaml(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def is_ignored(path: str) -> bool:
    """What no layout ever reads: ``.git*`` names, platform folders, READMEs, CODEOWNERS."""
    parts = path.split("/")
    for part in parts[:-1]:
        if part.startswith(".git"):
            return True
    name = parts[-1]
    return name.startswith((".git", "README")) or name == "CODEOWNERS"


def place(path: str, layout: Layout, target: str | None = None) -> Placed | None:
    """What the path is in this layout, None for a file that is none of our business."""
    if is_ignored(path):
        return None
    parts = path.split("/")
    if layout is Layout.LANNER:
        return _lanner(parts)
    if layout is Layout.KESTRA_TENANT:
        return _tenant(parts)
    if layout is Layout.KESTRA_TASKS:
        return _tasks(parts, target or "")
    return Placed(Kind.FLOW, None) if is_yaml(parts[-1]) and not parts[-1].startswith(".") else None


def selected(path: str, include: tuple[str, ...], ignore: tuple[str, ...]) -> bool:
    """Whether the source's globs admit the path."""
    if include != ("**",) and not any_path(include, path):
        return False
    return not ignore or not any_path(ignore, path)


def folded(path: str) -> str:
    """Equal for paths that would be one file on a system that folds case or normalizes Unicode."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", path).casefold()


def _lanner(parts: list[str]) -> Placed | None:
    if parts[0] != "namespaces" or len(parts) < 3:
        return None
    segments: list[str] = []
    for index, part in enumerate(parts[1:], start=1):
        last = index == len(parts) - 1
        if last:
            kind = _SETTINGS.get(part) or ("secret" if part == "secrets.sops.yaml" else None)
            return _placed(Kind(kind), segments, parts[1:index]) if kind and segments else None
        if part in RESERVED:
            if not segments:
                return None
            inside = parts[index + 1 :]
            if part == "flows":
                return _placed(Kind.FLOW, segments, parts[1:index]) if is_yaml(inside[-1]) else None
            return _placed(Kind.FILE, segments, parts[1:index], "/" + "/".join(inside))
        segments.append(part)
    return None


def _tenant(parts: list[str]) -> Placed | None:
    if len(parts) < 3 or parts[0].startswith("."):
        return None
    if parts[1] == "flows":
        return _placed(Kind.FLOW, [parts[0]], parts[:1]) if is_yaml(parts[-1]) else None
    if parts[1] == "files":
        return _placed(Kind.FILE, [parts[0]], parts[:1], "/" + "/".join(parts[2:]))
    return None


def _tasks(parts: list[str], target: str) -> Placed | None:
    if len(parts) < 2:
        return None
    if parts[0] == "_flows":
        return _placed(Kind.FLOW, [target, *parts[1:-1]], parts[:-1]) if is_yaml(parts[-1]) else None
    if parts[0] == "_files":
        return _placed(Kind.FILE, [target], [], "/" + "/".join(parts[1:]))
    return None


def _placed(kind: Kind, segments: list[str], folder: list[str], name: str = "") -> Placed:
    namespace = ".".join(segments)
    why = why_not_a_namespace(namespace)
    fault = f"the folder '{'/'.join(folder)}' is no namespace: '{namespace}' {why}" if why else ""
    return Placed(kind, namespace, name, "/".join(folder), fault)
