"""A look into expressions at save time: syntax errors (a warning) and names with dashes (an error, as in Kestra)."""

from __future__ import annotations

import re

from namespaces.flows.language import path_of, texts
from namespaces.flows.model import Flow
from namespaces.flows.scope import Scope

# Plain paths such as `{{ outputs.a.value }}` between text without braces: no need to ask the parser.
_PLAIN = re.compile(r"[^{}]*(?:\{\{-?\s*[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[\d+\])*\s*-?\}\}[^{}]*)*")
_PROSE = frozenset({"description", "displayName"})
MAX_EXPRESSION = 64 * 1024


def check_expressions(scope: Scope, flow: Flow, text: str, *, strict: bool = False) -> None:
    """Findings about the expressions of the whole document; ``strict`` makes a syntax error an error."""
    if "{{" not in text and "{%" not in text:
        return
    from namespaces.expressions import parse

    dashed = _dashed(flow, text)
    for written in texts(flow.written):
        if dashed is not None:
            _check_names(scope, dashed, flow, written)
        if _PLAIN.fullmatch(written):
            continue
        if len(written) > MAX_EXPRESSION:
            message = f"text with expressions is longer than {MAX_EXPRESSION // 1024} KiB"
            scope.findings.warning("F110", path_of(flow.written, written), message)
            continue
        expression = parse(written)
        if expression.error is None and not expression.warnings:
            continue
        path = path_of(flow.written, written)
        if path and path[-1] in _PROSE:
            continue
        if expression.error is not None:
            tell = scope.findings.error if strict else scope.findings.warning
            tell("F110", path, f"expression cannot be read: {expression.error}", expression.hint)
        for message, _line in expression.warnings:
            scope.findings.warning("F112", path, message)


def _dashed(flow: Flow, text: str) -> re.Pattern[str] | None:
    """A pattern for `inputs.a-b` and `outputs.a-b` of names that this flow really has."""
    inputs = [i.id for i in flow.inputs if "-" in i.id] if "inputs." in text else []
    outputs = [task.id for task in flow.walk() if "-" in task.id] if "outputs." in text else []
    if not inputs and not outputs:
        return None
    parts = [
        rf"{name}\.(?:{'|'.join(re.escape(i) for i in sorted(ids, key=len, reverse=True))})(?![\w-])"
        for name, ids in (("inputs", inputs), ("outputs", outputs))
        if ids
    ]
    return re.compile(rf"(?<![\w.'\"])(?:{'|'.join(parts)})")


_BRACES = re.compile(r"\{\{(.*?)\}\}|\{%(.*?)%\}", re.DOTALL)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


def _check_names(scope: Scope, dashed: re.Pattern[str], flow: Flow, written: str) -> None:
    for kind in ("input", "output"):
        found: list[str] = []
        for match in _BRACES.finditer(written):
            code = _QUOTED.sub("''", match[1] or match[2] or "")
            found.extend(seen for seen in dashed.findall(code) if seen.startswith(kind))
        if found:
            scope.findings.error(
                "F020",
                path_of(flow.written, written),
                f"Invalid {kind} reference: use {kind}s[key-name] instead of {kind}s.key-name — keys with dashes "
                f"require bracket notation, offending {kind}(s): [{', '.join(dict.fromkeys(found))}]",
            )
