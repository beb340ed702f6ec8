"""Policies (``flows.md`` 1.8): what an operator adds to flows, takes out of them and forbids. Pure.

They lie beside the flows: the stored source is never changed, only what is read from it. ``where`` looks at a task,
trigger, condition or task runner as it was written; rules that forbid look at it once everything was laid over it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from namespaces.durations import parse_duration
from namespaces.errors import ConfigurationError, did_you_mean
from namespaces.flows.defaults import deep_merge

ENFORCEMENTS = ("ACTIVE", "EVALUATE", "DISABLED", "REFERENCE")
RULES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "Add": (frozenset({"values"}), frozenset({"override"})),
    "Delete": (frozenset({"properties"}), frozenset()),
    "Deny": (frozenset(), frozenset({"action", "errorMessage"})),
    "Restrict": (
        frozenset({"property"}), frozenset({"min", "max", "enum", "regex", "equals", "action", "errorMessage"}),
    ),
    "Require": (frozenset({"properties"}), frozenset({"action", "errorMessage"})),
}  # fmt: skip
"""Rule to the properties that it must have and may have, besides ``type``, ``on`` and ``where``."""
OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "EQUAL_TO": lambda seen, value: _same(seen, value),
    "NOT_EQUAL_TO": lambda seen, value: not _same(seen, value),
    "STARTS_WITH": lambda seen, value: seen is not None and str(seen).startswith(str(value)),
    "ENDS_WITH": lambda seen, value: seen is not None and str(seen).endswith(str(value)),
    "CONTAINS": lambda seen, value: value in seen if isinstance(seen, list) else str(value) in str(seen or ""),
    "IN": lambda seen, value: any(_same(seen, one) for one in value or ()),
    "NOT_IN": lambda seen, value: not any(_same(seen, one) for one in value or ()),
    "REGEX": lambda seen, value: seen is not None and re.fullmatch(str(value), str(seen)) is not None,
    "IS_NULL": lambda seen, _value: seen is None,
    "IS_NOT_NULL": lambda seen, _value: seen is not None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``given`` are the rule's own properties; ``where`` are (field, operator, value), all of which must hold."""

    kind: str
    on: str
    where: tuple[tuple[str, str, Any], ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)

    def fits(self, written: Mapping[str, Any]) -> bool:
        return all(OPERATORS[operator](at(written, name), value) for name, operator, value in self.where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """``namespaces`` (with their children) and ``tenants``: None is everywhere."""

    id: str
    enforcement: str = "ACTIVE"
    namespaces: tuple[str, ...] | None = None
    tenants: tuple[str, ...] | None = None
    rules: tuple[Rule, ...] = ()

    def concerns(self, namespace: str) -> bool:
        if self.tenants is not None and "main" not in self.tenants:
            return False
        return self.namespaces is None or any(
            namespace == one or namespace.startswith(f"{one}.") for one in self.namespaces
        )


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that does not hold. ``path`` is below the map that was looked at."""

    message: str
    path: tuple[str, ...]
    blocks: bool


def at(value: Any, path: str) -> Any:
    """What stands at a dotted path of nested maps, None when nothing does."""
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _same(seen: Any, value: Any) -> bool:
    return seen == value or (seen is not None and value is not None and _text(seen) == _text(value))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def refs_of(written: Mapping[str, Any]) -> tuple[str, ...]:
    """The policies that a flow, task or trigger names."""
    refs = written.get("policyRefs")
    return tuple(ref for ref in refs if isinstance(ref, str)) if isinstance(refs, list) else ()


class Chain:
    """The policies that concern one flow, outermost first, with those its ``policyRefs`` name."""

    def __init__(self, policies: Iterable[Policy], namespace: str, refs: Sequence[str] = ()) -> None:
        self._all = [policy for policy in policies if policy.concerns(namespace)]
        self._refs = frozenset(refs)

    def unknown(self, refs: Iterable[str]) -> list[str]:
        known = {policy.id for policy in self._all}
        return [ref for ref in refs if ref not in known]

    def changed(
        self, on: str, written: Mapping[str, Any], merged: Mapping[str, Any], known: Iterable[str] | None
    ) -> tuple[dict[str, Any], list[Breach]]:
        """``merged`` (as written, defaults applied) with what Add and Delete say of it.

        ``known`` are the properties that its type has (None: all are); others are not added. What is added by one
        rule and deleted by another is a breach.
        """
        refs = self._refs | set(refs_of(written))
        rules = [
            (policy, rule)
            for policy in self._all
            if policy.enforcement == "ACTIVE" or (policy.enforcement == "REFERENCE" and policy.id in refs)
            for rule in policy.rules
            if rule.on == on and rule.fits(written)
        ]
        allowed = None if known is None else set(known)
        result = dict(merged)
        added: set[str] = set()
        # Of what fills gaps the innermost wins, of what replaces the outermost: so the list is walked backwards.
        for override in (False, True):
            for _, rule in reversed(rules):
                if rule.kind != "Add" or bool(rule.given.get("override")) is not override:
                    continue
                values = {k: v for k, v in rule.given["values"].items() if allowed is None or k in allowed}
                added |= set(values)
                result = deep_merge(result, values) if override else deep_merge(values, result)
        breaches = []
        for policy, rule in rules:
            if rule.kind == "Delete":
                for name in rule.given["properties"]:
                    if name in added:
                        message = f"policy '{policy.id}' deletes '{name}', which another rule adds"
                        breaches.append(Breach(message, (name,), True))
                    _delete(result, name.split("."))
        return result, breaches

    def breaches(self, on: str, written: Mapping[str, Any], result: Mapping[str, Any]) -> list[Breach]:
        """What Deny, Restrict and Require say of a map in its final form; EVALUATE only warns."""
        found = []
        for policy in self._all:
            if policy.enforcement not in ("ACTIVE", "EVALUATE"):
                continue
            for rule in policy.rules:
                if rule.on != on or not rule.fits(written):
                    continue
                blocks = policy.enforcement == "ACTIVE" and rule.given.get("action", "block") == "block"
                for path, fault in _faults(rule, result):
                    message = rule.given.get("errorMessage") or fault
                    found.append(Breach(f"{message} (policy '{policy.id}')", path, blocks))
        return found


def _delete(value: Any, path: list[str]) -> None:
    *parents, last = path
    for part in parents:
        inner = value.get(part) if isinstance(value, dict) else None
        if not isinstance(inner, Mapping):
            return
        value[part] = dict(inner)  # what was written stays as it is
        value = value[part]
    if isinstance(value, dict):
        value.pop(last, None)


def _faults(rule: Rule, result: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    given = rule.given
    match rule.kind:
        case "Deny":
            return [(("type",), f"the type {result.get('type')} is not allowed here")]
        case "Require":
            missing = [name for name in given["properties"] if _is_missing(at(result, name))]
            return [((), f"the property '{name}' is required") for name in missing]
        case "Restrict":
            name = str(given["property"])
            seen = at(result, name)
            fault = None if seen is None else _restricted(given, seen)
            return [(tuple(name.split(".")), f"the property '{name}' {fault}, but is {seen!r}")] if fault else []
        case _:
            return []


def _is_missing(value: Any) -> bool:
    return value is None or value == [] or value == {} or (isinstance(value, str) and not value.strip())


def _restricted(given: Mapping[str, Any], seen: Any) -> str | None:
    """What is wrong with a value, in words that follow the property's name."""
    if "equals" in given and not _same(seen, given["equals"]):
        return f"must be {given['equals']!r}"
    if "enum" in given and not any(_same(seen, one) for one in given["enum"]):
        return f"must be one of {', '.join(_text(one) for one in given['enum'])}"
    if "regex" in given and re.fullmatch(str(given["regex"]), str(seen)) is None:
        return f'must match "{given["regex"]}"'
    for key, words in (("min", "must be at least"), ("max", "must be at most")):
        if key in given:
            value, bound = _number(seen), _number(given[key])
            if value is None or bound is None or (value < bound if key == "min" else value > bound):
                return f"{words} {given[key]}"
    return None


def _number(value: Any) -> float | None:
    """A number, or the seconds of a duration; an expression is neither, so a bound on it does not hold."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    try:
        return parse_duration(value).total_seconds()
    except ValueError:
        return None


# -- reading the configuration


def read_policies(written: Sequence[Mapping[str, Any]]) -> tuple[Policy, ...]:
    """The setting ``policies``. Raises ``ConfigurationError`` that names policy, rule and property."""
    found = tuple(_policy(item, f"policies[{index}]") for index, item in enumerate(written))
    ids = [policy.id for policy in found]
    if repeated := {one for one in ids if ids.count(one) > 1}:
        raise ConfigurationError(f"policies: the id '{min(repeated)}' is used twice")
    return found


_POLICY_KEYS = frozenset({"id", "displayName", "description", "enforcement", "target", "rules"})


def _policy(written: Any, place: str) -> Policy:
    item = _camel(written, place)
    _known(item, _POLICY_KEYS, place)
    if not isinstance(item.get("id"), str) or not item["id"]:
        raise ConfigurationError(f"{place}: a policy needs an id")
    enforcement = _word(item.get("enforcement", "ACTIVE"), ENFORCEMENTS, f"{place}.enforcement")
    target = _camel(item.get("target") or {}, f"{place}.target")
    _known(target, frozenset({"namespaces", "tenants"}), f"{place}.target")
    rules = item.get("rules") or ()
    if not isinstance(rules, list | tuple):
        raise ConfigurationError(f"{place}.rules: must be a list")
    return Policy(
        id=item["id"],
        enforcement=enforcement,
        namespaces=tuple(target["namespaces"]) if target.get("namespaces") is not None else None,
        tenants=tuple(target["tenants"]) if target.get("tenants") is not None else None,
        rules=tuple(_rule(rule, f"{place}.rules[{index}]") for index, rule in enumerate(rules)),
    )


def _rule(written: Any, place: str) -> Rule:
    item = _camel(written, place)
    kind = _word(str(item.get("type", "")).rpartition(".")[2], tuple(RULES), f"{place}.type")
    required, optional = RULES[kind]
    _known(item, required | optional | {"type", "on", "where"}, place)
    for name in sorted(required):
        if not item.get(name):
            raise ConfigurationError(f"{place}: {kind} needs '{name}'")
    if kind == "Restrict" and not item.keys() & {"min", "max", "enum", "regex", "equals"}:
        raise ConfigurationError(f"{place}: Restrict needs one of min, max, enum, regex, equals")
    if "action" in item:
        _word(item["action"], ("block", "warn"), f"{place}.action")
    on = _word(item.get("on", "PLUGIN"), ("FLOW", "PLUGIN"), f"{place}.on")
    where = item.get("where") or ()
    if on == "FLOW" and (where or kind == "Deny"):
        raise ConfigurationError(f"{place}: {'where' if where else 'Deny'} is for rules on PLUGIN only")
    for pattern in [item.get("regex"), *(one.get("value") for one in where if one.get("operator") == "REGEX")]:
        try:
            re.compile(str(pattern or ""))
        except re.error as error:
            raise ConfigurationError(f"{place}: the pattern {pattern!r} cannot be read: {error}") from error
    conditions = tuple(
        (str(one.get("field", "")), _word(one.get("operator"), tuple(OPERATORS), f"{place}.where"), one.get("value"))
        for one in where
    )
    given = {key: value for key, value in item.items() if key in required | optional}
    return Rule(kind=kind, on=on, where=conditions, given=given)


def _camel(written: Any, place: str) -> dict[str, Any]:
    """Keys as policies write them; the configuration's own spelling with underscores is taken as well."""
    if not isinstance(written, Mapping):
        raise ConfigurationError(f"{place}: must be a map")
    spelled = {"display_name": "displayName", "error_message": "errorMessage"}
    return {spelled.get(str(key), str(key)): value for key, value in written.items()}


def _known(item: Mapping[str, Any], known: frozenset[str], place: str) -> None:
    for key in item:
        if key not in known:
            raise ConfigurationError(f"{place}: there is no property '{key}'{did_you_mean(key, known)}")


def _word(value: Any, known: tuple[str, ...], place: str) -> str:
    if value not in known:
        raise ConfigurationError(f"{place}: {value!r} is not one of {', '.join(known)}")
    return str(value)
