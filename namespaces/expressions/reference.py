"""The reference page of the language, made from the table: ``python -m namespaces.expressions.reference``."""

from __future__ import annotations

import json

from namespaces.expressions.builtins import FILTERS, FUNCTIONS, TESTS
from namespaces.expressions.registry import REQUIRED, Entry

_HEAD = """# Expressions

Generated from the table of the language (`python -m namespaces.expressions.reference`); a test runs every example.

Templates are Kestra's (Pebble): `{{ expression }}` prints, `{% tag %}` controls, `{# comment #}` is left out. What is
missing is an error; `??`, `| default(…)` and `is defined` ask without one. Precedence, from the tightest: `not` `-` `+`
before a value; `??` `???` `..`; `~`; `|`; `*` `/` `%`; `+` `-`; `==` `!=` `<` `>` `<=` `>=`; `is` `contains` `isIn`;
`and`; `or`; `? :`. So `'a' ~ list | length` is the length of the joined text: use parentheses.

Tags: `if` `elseif` `else`, `for` (with `else`, `loop.index` from 0, `loop.first`, `loop.last`, `loop.length`,
`loop.revindex`), `set`, `macro`, `filter`, `block`, `raw`, `verbatim`.

Arguments may be given by position or by name. *Pooled* entries, loops and macros render in a limited process (2 s,
128 MiB); *guarded* ones are refused in text that came from outside and is put through `render()`.

Examples that reach out are given a secret `TOKEN`, a key `cursor`, a namespace file `hello.txt` with `Hello`, a
variable `region`, a failed task `load`, a child flow that gives `city`, and an execution in the second iteration of a
ForEach over `a` and `b`, whose child `say` greets, behind a Loop over cities.
"""


def _value(default: object) -> str:
    return json.dumps(default)


def _signature(entry: Entry) -> str:
    if entry.variadic:
        return "(…)"
    parts = [name if default is REQUIRED else f"{name}={_value(default)}" for name, default in entry.parameters]
    return f"({', '.join(parts)})" if parts else ""


def _code(text: str) -> str:
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def _section(title: str, table: dict[str, Entry], form: str) -> list[str]:
    lines = [f"\n## {title}\n"]
    for name in sorted(table, key=str.lower):
        entry = table[name]
        others = sorted(other for other, one in table.items() if one.call is entry.call and not one.legacy)
        signature = _signature(entry)
        if form == "{}":
            signature = signature or "()"
        lines.append(f"### {form.format(name)}\n")
        if entry.legacy and others:
            lines.append(f"Old name of `{others[0]}`.\n")
            continue
        marks = [word for word, holds in (("pooled", not entry.cheap), ("guarded", entry.disclosing)) if holds]
        lines.append(f"`{form.format(name)}{signature}`{' · ' + ', '.join(marks) if marks else ''}\n")
        lines.append(f"{entry.doc}\n")
        if entry.examples:
            rows = [f"{_code(template)}  →  {_code(result)}" for template, result in entry.examples]
            lines += ["```text", *rows, "```\n"]
    return lines


def page() -> str:
    """The whole page in Markdown."""
    lines = [_HEAD]
    lines += _section("Functions", FUNCTIONS, "{}")
    lines += _section("Filters", FILTERS, "| {}")
    lines += _section("Tests", TESTS, "is {}")
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
