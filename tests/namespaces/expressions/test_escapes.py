"""Random templates made of the language's own words and of known attacks: none may show or touch Python (G10)."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

import os
import random
import re

import pytest

from namespaces.expressions import RenderError, render
from namespaces.expressions.builtins import FILTERS, FUNCTIONS, TESTS
from tests.namespaces.expressions.support import CONTEXT, PlainPorts

_ATTACKS = (
    "__class__", "__mro__", "__subclasses__", "__globals__", "__init__", "__builtins__", "__import__", "__reduce__", "__dict__",
    "format", "format_map", "func_globals", "gi_frame", "tb_frame", "f_globals", "cr_code", "mro", "getattr", "eval", "exec", "os",
    "class", "getClass", "environment", "context", "self", "cycler", "lipsum", "joiner", "namespace", "config", "request", "range",
)  # fmt: skip
_SKIPPED = frozenset(("randomPort", "isPublicHoliday", "subflow", "jq"))
_LEAK = re.compile(
    r"<(class|function|module|built-in|bound method|method|code|frame|generator|property|slot wrapper|[a-z_.]+ object)|"
    r"object at 0x|Traceback|site-packages|/proc/|PYTHONPATH"
)


class _Writer:
    """Writes a random template; deterministic for a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._filters = sorted(set(FILTERS) - _SKIPPED)
        self._functions = sorted(set(FUNCTIONS) - _SKIPPED)
        self._tests = sorted(TESTS)
        self._roots = [*CONTEXT, *_ATTACKS[:12], "missing", "loop", "x"]

    def template(self) -> str:
        pick = self._random
        shape = pick.randrange(8)
        value = self._expr(3)
        if shape == 0:
            return f"{{% for x in {value} %}}{{{{ {self._expr(2)} }}}}{{% endfor %}}"
        if shape == 1:
            return f"{{% set x = {value} %}}{{{{ {self._expr(2)} }}}}"
        if shape == 2:
            return f"{{% macro x(a, b={value}) %}}{{{{ {self._expr(2)} }}}}{{% endmacro %}}{{{{ x({self._expr(1)}) }}}}"
        if shape == 3:
            return f"{{% if {value} %}}{{{{ {self._expr(2)} }}}}{{% endif %}}"
        return f"{{{{ {value} }}}}"

    def _expr(self, depth: int) -> str:
        pick = self._random
        if depth == 0:
            return self._leaf()
        inner = self._expr(depth - 1)
        other = self._expr(pick.randrange(depth))
        name = pick.choice(_ATTACKS)
        return pick.choice(
            (
                inner,
                f"{inner} | {pick.choice(self._filters)}",
                f"{inner} | {pick.choice(self._filters)}({other})",
                f"{pick.choice(self._functions)}({inner})",
                f"{pick.choice(self._functions)}({inner}, {other})",
                f"({inner}).{name}",
                f"({inner})['{name}']",
                f"({inner}).{name}({other})",
                f"({inner})[{other}]",
                f"{inner} {pick.choice(('~', '+', '-', '*', '/', '%', '==', '<', 'contains', 'isIn', '??', '???', 'and', 'or', '..'))} {other}",
                f"({inner}) ? ({other}) : ({self._leaf()})",
                f"{inner} is {pick.choice(self._tests)}",
                f"[{inner}, {other}]",
                f"{{{inner}: {other}}}",
                f"not ({inner})",
                f'"#{{{inner}}}"',
            )
        )

    def _leaf(self) -> str:
        pick = self._random
        name = pick.choice(_ATTACKS)
        return pick.choice(
            (
                pick.choice(self._roots),
                f"{pick.choice(self._roots)}.{name}",
                f"{pick.choice(self._roots)}['{name}']",
                "''",
                f"'{name}'",
                f"'{{0.{name}}}'",
                f"'{{{{ {name} }}}}'",
                str(pick.randrange(-3, 12)),
                "1.5",
                "null",
                "true",
                "[]",
                "{}",
            )
        )


def _attempt(seed: int) -> None:
    template = _Writer(seed).template()
    try:
        made = render(template, CONTEXT, PlainPorts(a="1", K="2", http="3"))
    except RenderError as error:
        made = str(error).replace(template, "").partition(" used in the expression ")[0]
    except (ValueError, TypeError, AttributeError, AssertionError, SyntaxError, NameError) as error:
        raise AssertionError(f"seed {seed}: {template} raised {error!r}") from error
    assert not _LEAK.search(made), f"seed {seed}: {template} gave {made!r}"


def test_random_templates_neither_escape_nor_break() -> None:
    for seed in range(500):
        _attempt(seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_random_templates_neither_escape_nor_break() -> None:
    for seed in range(500, 500 + int(os.environ.get("LANNER_FUZZ", "50000"))):
        _attempt(seed)
