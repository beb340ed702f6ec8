"""What can be said about a template without rendering it: cost, references, provenance. Pure.

*Outside* means data that somebody else may have written (expressions.md 6); whatever is not known to be the
flow's own text counts as outside.
"""

from __future__ import annotations

from namespaces.errors import did_you_mean
from namespaces.expressions import tree
from namespaces.expressions.patterns import is_plain
from namespaces.expressions.registry import FILTERS, FUNCTIONS, TESTS, Entry, bind

#: Roots whose text belongs to the flow or to the operator.
_OWN_ROOTS = frozenset(("flow", "task", "vars", "globals", "envs", "kestra", "loop"))
#: Above this many nodes a template is not provably cheap, whatever they are.
_CHEAP_NODES = 2000


def is_cheap(template: tree.Template) -> bool:
    """Whether rendering is bounded work: paths, literals, bounded filters; no loop, macro, range or pattern."""
    if template.size > _CHEAP_NODES or any(_grows(node) for node in tree.walk(template)):
        return False
    return all(_node_is_cheap(node) for node in tree.walk(template))


def _grows(node: tree.Node) -> bool:
    """An assigned list or map: holding itself several times over, it grows with every assignment."""
    if not isinstance(node, tree.Set):
        return False
    return any(
        isinstance(one, tree.ListOf | tree.MapOf) or (isinstance(one, tree.Filtered) and one.name in ("merge", "chunk"))
        for one in tree.walk(node.value)
    )


def _node_is_cheap(node: tree.Node) -> bool:
    match node:
        case tree.For() | tree.Macro() | tree.FilterTag():
            return False
        case tree.Binary(_, op):
            return op != ".."
        case tree.Method(_, _, name, args):
            return name != "split" or _is_plain_literal(args[:1])
        case tree.Call(_, name):
            return name not in FUNCTIONS or FUNCTIONS[name].cheap
        case tree.Filtered(_, _, "split", args, named):
            return _is_plain_literal(args[:1] or tuple(value for name, value in named if name == "delimiter"))
        case tree.Filtered(_, _, "replace", args, named):
            switch = args[1] if len(args) > 1 else dict(named).get("regexp")
            return switch is None or (isinstance(switch, tree.Literal) and switch.value is not True)
        case tree.Filtered(_, _, name):
            return name not in FILTERS or FILTERS[name].cheap
    return True


def _is_plain_literal(args: tuple[tree.Expr, ...]) -> bool:
    return (
        len(args) == 1
        and isinstance(args[0], tree.Literal)
        and isinstance(args[0].value, str)
        and is_plain(args[0].value)
    )


# -- provenance


def is_outside(node: tree.Expr, template: tree.Template) -> bool:
    """Whether the value of an expression may be, or hold, text from outside.

    True of names that the template assigns only when what it assigns is; see :func:`assigned_names` for the rest.
    """
    return _Provenance(template).outside(node)


def assigned_names(node: tree.Node, template: tree.Template) -> tuple[str, ...]:
    """Names in an expression that the template assigns, also by way of other such names.

    Where one of them exists in the context as well, its value may have come from there: only the rendering can tell.
    """
    values = _Provenance(template).assigned
    found: set[str] = set()
    pending: list[tree.Node] = [node]
    while pending:
        for one in tree.walk(pending.pop()):
            if isinstance(one, tree.Path) and one.root in values and one.root not in found:
                found.add(one.root)
                pending.extend(values[one.root])
    return tuple(sorted(found - _OWN_ROOTS))


def reads_outside(template: tree.Template) -> bool:
    """Whether anything in a template reads data from outside."""
    provenance = _Provenance(template)
    for node in tree.walk(template):
        if isinstance(node, tree.Path) and provenance.path(node):
            return True
        if isinstance(node, tree.Call) and provenance.call(node):
            return True
    return False


class _Provenance:
    def __init__(self, template: tree.Template) -> None:
        self.assigned: dict[str, list[tree.Expr]] = {}
        self._foreign: set[str] = set()
        self._macros: set[str] = set()
        for node in tree.walk(template):
            match node:
                case tree.Set(_, name, value):
                    self.assigned.setdefault(name, []).append(value)
                case tree.For(_, name, values):
                    self.assigned.setdefault(name, []).append(values)
                case tree.Macro(_, name, params):
                    self._macros.add(name)
                    self._foreign.update(param for param, _ in params)
        self._open: set[str] = set()

    def outside(self, node: tree.Node) -> bool:
        for one in tree.walk(node):
            if isinstance(one, tree.Path) and self.path(one):
                return True
            if isinstance(one, tree.Call) and self.call(one):
                return True
        return False

    def path(self, node: tree.Path) -> bool:
        root = node.root
        if root in self._foreign:
            return True
        if root in self.assigned:
            if root in self._open:  # assigned from itself: the other assignments decide
                return False
            self._open.add(root)
            try:
                return any(self.outside(value) for value in self.assigned[root])
            finally:
                self._open.discard(root)
        return root not in _OWN_ROOTS

    def call(self, node: tree.Call) -> bool:
        """Arguments are looked at by the walk; here only what the function itself brings in."""
        if node.name in self._macros:
            return True
        if node.name == "read" and len(node.args) == 1 and not node.named:
            path = node.args[0]
            if isinstance(path, tree.Literal) and isinstance(path.value, str):
                return ":" in path.value or path.value.startswith("/")
        if node.name in ("render", "renderOnce"):
            return True  # what a text renders to is not known here
        entry = FUNCTIONS.get(node.name)
        return entry is None or entry.outside


# -- what a template mentions


def references(template: tree.Template) -> frozenset[str]:
    """Root names and dotted literal paths; names that the template itself defines are left out."""
    found: set[str] = set()
    own = {"loop"}
    for node in tree.walk(template):
        if isinstance(node, tree.Set | tree.For):
            own.add(node.name)
        elif isinstance(node, tree.Macro):
            own.update(param for param, _ in node.params)
    for node in tree.walk(template):
        if isinstance(node, tree.Path) and node.root not in own:
            found.add(node.root)
            found.add(".".join([node.root, *map(str, node.keys)]))
    return frozenset(found)


def calls(template: tree.Template) -> frozenset[str]:
    """What is called: ``name()``, ``name(argument=)`` for named arguments, ``|name`` for filters, ``is name``."""
    found: set[str] = set()
    for node in tree.walk(template):
        if isinstance(node, tree.Call):
            found.add(f"{node.name}()")
            found.update(f"{node.name}({name}=)" for name, _ in node.named)
        elif isinstance(node, tree.Filtered):
            found.add(f"|{node.name}")
        elif isinstance(node, tree.Test):
            found.add(f"is {node.name}")
    return frozenset(found)


def complaints(template: tree.Template) -> tuple[tuple[str, int], ...]:
    """Unknown names and wrong arguments with their lines: they fail when their place is rendered."""
    found: list[tuple[str, int]] = []
    macros = {node.name for node in tree.walk(template) if isinstance(node, tree.Macro)}
    for node in tree.walk(template):
        if isinstance(node, tree.Filtered):
            _check(found, FILTERS, "filter", node)
        elif isinstance(node, tree.Call) and node.name not in macros:
            _check(found, FUNCTIONS, "function", node)
        elif isinstance(node, tree.Test) and node.name not in TESTS:
            found.append((f"unknown test `{node.name}`{did_you_mean(node.name, TESTS)}", node.line))
    return tuple(found)


def _check(found: list[tuple[str, int]], table: dict[str, Entry], word: str, node: tree.Filtered | tree.Call) -> None:
    entry = table.get(node.name)
    if entry is None:
        found.append((f"unknown {word} `{node.name}`{did_you_mean(node.name, table)}", node.line))
        return
    complaint = bind(entry, f"{word} `{node.name}`", len(node.args), dict(node.named))[1]
    if complaint:
        found.append((complaint, node.line))
