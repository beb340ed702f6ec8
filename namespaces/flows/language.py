"""Which meaning a flow wants: language 1 (Kestra 0.x and 1.x) or 2 (``versions.md`` 2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from namespaces.flows.findings import Findings
from namespaces.flows.reader import Path
from namespaces.flows.scope import Scope

_COMMENT = re.compile(r"#\s*lanner:\s*language\s*=\s*([12])\s*$")
_BRACES = re.compile(r"\{\{(.*?)\}\}|\{%(.*?)%\}", re.DOTALL)
_CALENDAR = (
    "hourOfDay|dayOfMonth|dayOfWeek|monthOfYear|isWeekend|isPublicHoliday|isLastWorkingDay|isDayWeekInMonth|loopOutputs"
)
_NEWER = re.compile(rf"\b(?:(?P<call>{_CALENDAR}|env)\s*\(|read\s*\([^)]*\brevision\s*=)")
_ITEM = re.compile(r"(?<![\w.])item\.")
_OLDER = re.compile(
    r"(?<![\w.])(?:taskrun\.value|schedule\.|outputDir\b|json\s*\()|\|\s*json\b|\bread\s*\([^)]*\bversion\s*="
)
# Cheap looks at the whole text: most flows contain none of these words anywhere, and looking for a word costs a
# tenth of a pattern that begins with a choice.
_NEWER_WORDS = (*_CALENDAR.split("|"), "env", "revision")
_OLDER_WORDS = ("taskrun.value", "schedule.", "outputDir", "json", "version")
_MAYBE_NEWER = re.compile(rf"\b(?:{_CALENDAR}|env)\s*\(|\brevision\s*=")
_MAYBE_OLDER = re.compile(r"taskrun\.value|schedule\.|outputDir|json\s*\(|\|\s*json|\bversion\s*=")


def language_of(scope: Scope, text: str, value: dict[str, Any], default: str, unmarked: int) -> tuple[int, str]:
    """Language and reason. ``default`` is the nearest namespace's or the server's ``auto``, ``1`` or ``2``."""
    pinned = _pinned(text)
    if pinned:
        return pinned, "the flow's comment"
    if str(default) in ("1", "2"):
        return int(default), "setting flow_language"
    if "{{" in text or "{%" in text:
        _expression_markers(scope, text, value)
    if scope.newer:
        return 2, f"uses {next(iter(scope.newer))}"
    if scope.older:
        return 1, f"uses {next(iter(scope.older))}"
    return unmarked, "no marker of either version"


def _pinned(text: str) -> int:
    for line in text.splitlines():
        stripped = line.strip()
        if stripped and not stripped.startswith("#") and stripped != "---":
            return 0
        match = _COMMENT.match(stripped)
        if match:
            return int(match[1])
    return 0


def _expression_markers(scope: Scope, text: str, value: dict[str, Any]) -> None:
    newer = any(word in text for word in _NEWER_WORDS) and _MAYBE_NEWER.search(text) is not None
    older = any(word in text for word in _OLDER_WORDS) and _MAYBE_OLDER.search(text) is not None
    item = "flow.Loop" in "".join(scope.newer) and "item." in text
    if not (newer or older or item):
        return
    for written in texts(value):
        for match in _BRACES.finditer(written):
            code = match[1] or match[2] or ""
            if newer and (found := _NEWER.search(code)):
                scope.is_newer(found["call"] or "read(…, revision=)", path_of(value, written))
            if item and _ITEM.search(code):
                scope.is_newer("item", path_of(value, written))
            if older and (seen := _OLDER.search(code)):
                scope.is_older(seen[0].strip("( ").strip(), path_of(value, written))


def texts(value: Any) -> Iterator[str]:
    """Every text below ``value`` that has something to render. Without paths, which few flows ever need."""
    stack: list[Any] = [value]
    while stack:
        value = stack.pop()
        if type(value) is str:
            if "{{" in value or "{%" in value:
                yield value
        elif type(value) is dict:
            stack.extend(value.values())
        elif type(value) is list:
            stack.extend(value)


def path_of(value: Any, wanted: str) -> Path:
    """Where below ``value`` that very text stands; the first place when it stands at several."""
    return _way(value, wanted) or ()


def _way(here: Any, wanted: str) -> Path | None:
    # Paths are made on the way back from what was found: most places are not it.
    for key, item in here.items() if type(here) is dict else enumerate(here):
        if item is wanted:
            return (key,)
        if type(item) is dict or type(item) is list:
            rest = _way(item, wanted)
            if rest is not None:
                return (key, *rest)
    return None


_RULES: tuple[tuple[str, str], ...] = (
    ("core.flow.ForEachItem", "M03"), ("core.flow.ForEach", "M01"), ("taskrun.value", "M01"),
    ("core.flow.EachSequential", "M02"), ("core.flow.EachParallel", "M02"), ("runIf", "M05"),
    ("check condition", "M06"), ("scheduleConditions", "M07"), ("conditions", "M07 or M08"),
    ("preconditions", "M09"), ("multipleConditions", "M10"), ("pluginDefaults", "M13"), ("taskDefaults", "M13"),
    ("listeners", "M14"), ("json", "M15"), ("| json", "M15"), ("|json", "M15"),
    ("input ", "M16"), ("FILE extension", "M16"), ("MULTISELECT options", "M16"),
    ("io.kestra.core.", "M17"), ("core.flow.Template", "M17"), ("core.debug.Echo", "M17"),
    ("core.storage.LocalFiles", "M18"), ("core.state.", "M18"), ("outputDir", "M18"),
    ("script ", "M19"), ("maxAttempt", "M20"), ("minLogLevel", "M20"), ("schedule.", "M20"),
    ("workerGroup", "M21"), ("read", "M22"),
)  # fmt: skip
"""How a marker of language 1 begins, and the rule of ``versions.md`` 6 that converts it."""


def rule_of(marker: str) -> str:
    """The rule about a marker of language 1, empty for none."""
    return next((rule for start, rule in _RULES if marker.startswith(start)), "")


def check_strict(findings: Findings, scope: Scope, strict: int | None) -> None:
    """``strict``: constructs of the other version are errors, which name the rule that converts them."""
    if strict is None:
        return
    foreign = scope.newer if strict == 1 else scope.older
    for marker, path in foreign.items():
        message = f"'{marker}' does not exist in version {strict} (strict)"
        rule = rule_of(marker) if strict == 2 else ""
        if rule:
            message += f": rule {rule} of `lanner migrate`"
        findings.error("F033", path, message, hint="lanner check --explain " + rule[:3] if rule else "")
