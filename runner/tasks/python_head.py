"""A line of our own inside a Python script, placed so that the author's line numbers stay (``flows.md`` 6.7)."""

from __future__ import annotations

import ast


def with_head(head: str, script: str) -> str:
    """The script with ``head`` carried out before its first statement.

    Behind a docstring and ``__future__`` imports, on a line that exists already; only a script that begins with a
    compound statement on its very first line is moved down by one. A text that is no Python stays as it is.
    """
    try:
        body = ast.parse(script).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return script
    before: ast.stmt | None = None
    for statement in body:
        if not _must_be_first(statement, first=before is None):
            break
        before = statement
    else:
        return script
    lines = script.split("\n")
    if before is not None:
        row = (before.end_lineno or 1) - 1
        lines[row] = _inserted(lines[row], before.end_col_offset or 0, f"; {head}")
        return "\n".join(lines)
    decorators = getattr(statement, "decorator_list", [])
    row = min([statement.lineno, *(decorator.lineno for decorator in decorators)]) - 1
    if not hasattr(statement, "body") and not isinstance(statement, ast.Match):
        lines[row] = _inserted(lines[row], statement.col_offset, f"{head}; ")
    elif row > 2 or (row > 0 and not lines[row - 1].strip()):
        lines[row - 1] = f"{head}  {lines[row - 1].strip()}".rstrip()
    else:
        lines.insert(row, head)
    return "\n".join(lines)


def _must_be_first(statement: ast.stmt, *, first: bool) -> bool:
    """Whether nothing may stand before it: the docstring, imports from ``__future__``."""
    if isinstance(statement, ast.ImportFrom):
        return statement.module == "__future__"
    if not first or not isinstance(statement, ast.Expr):
        return False
    return isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)


def _inserted(line: str, offset: int, text: str) -> str:
    raw = line.encode()
    return (raw[:offset] + text.encode() + raw[offset:]).decode()
