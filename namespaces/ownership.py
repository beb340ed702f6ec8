"""Which Git source may write which namespace: longest literal prefix wins, deny wins over allow. Pure.

Roles, bindings and ``can()`` join this module with accounts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from namespaces.errors import ConfigurationError
from namespaces.globs import WILDCARDS, literal_prefix, matches_namespace

NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9][a-z0-9_-]*)*", re.ASCII)
LONGEST_NAMESPACE = 150
RESERVED_ROOTS = frozenset({"system", "preview"})
"""Covered by no wildcard: an allow list has to name them."""


@dataclass(frozen=True, slots=True)
class SourceRule:
    """What one source may write."""

    source: str
    allow: tuple[str, ...]
    deny: tuple[str, ...] = ()


def why_not_a_namespace(name: str) -> str:
    """Why the name is no namespace, empty when it is one."""
    if len(name) > LONGEST_NAMESPACE:
        return f"is longer than {LONGEST_NAMESPACE} characters"
    if not NAMESPACE.fullmatch(name):
        return "must be parts of a-z, 0-9, '_' and '-' joined by dots, each beginning with a letter or digit"
    return ""


def _allows(pattern: str, namespace: str) -> bool:
    root = namespace.partition(".")[0]
    if root in RESERVED_ROOTS and pattern.partition(".")[0] != root:
        return False
    return matches_namespace(pattern, namespace)


def _claim(rule: SourceRule, namespace: str) -> int:
    """Length of the longest literal prefix among the rule's patterns that allow the namespace; -1: none.

    A pattern without wildcard names the node itself and outweighs every wildcard.
    """
    if any(matches_namespace(pattern, namespace) for pattern in rule.deny):
        return -1
    best = -1
    for pattern in rule.allow:
        if _allows(pattern, namespace):
            prefix = literal_prefix(pattern)
            best = max(best, len(prefix) + (1_000 if prefix == pattern else 0))
    return best


@lru_cache(maxsize=20_000)
def owner_of(rules: tuple[SourceRule, ...], namespace: str) -> str | None:
    """The source that may write the namespace, None when no source may."""
    found, best = None, -1
    for rule in rules:
        claim = _claim(rule, namespace)
        if claim > best:
            found, best = rule.source, claim
    return found


def check_rules(rules: Sequence[SourceRule]) -> None:
    """Raise ``ConfigurationError`` when two sources claim namespaces with equally long literal prefixes."""
    seen: dict[tuple[str, bool], str] = {}
    for rule in rules:
        for pattern in rule.allow:
            prefix = literal_prefix(pattern)
            key = (prefix, prefix == pattern)
            other = seen.setdefault(key, rule.source)
            if other != rule.source:
                raise ConfigurationError(
                    f"sources '{other}' and '{rule.source}' both claim '{pattern}'",
                    hint="a namespace has one owning source: make one of the two patterns longer, or use deny",
                    where=f"git.sources[{rule.source}].namespaces",
                )


def why_not_a_pattern(pattern: str) -> str:
    """Why the text is no namespace pattern, empty when it is one."""
    for part in pattern.split("."):
        if part == "**":
            continue
        if not part or not re.fullmatch(r"[a-z0-9*?][a-z0-9_*?-]*", part):
            return "has an empty part or characters other than a-z, 0-9, '_', '-', '*' and '?'"
        if "**" in part:
            return "has '**' beside other characters"
    return ""


def literal(patterns: Iterable[str]) -> list[str]:
    """The patterns that name one namespace exactly."""
    return [pattern for pattern in patterns if not any(character in pattern for character in WILDCARDS)]
