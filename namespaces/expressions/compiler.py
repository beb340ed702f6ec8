"""The tree to Jinja2 syntax nodes, and those through Jinja2's compiler and immutable sandbox to a program.

Every operator, lookup, filter and function becomes a call of a listed function with the rendering's state first;
the generated code contains no attribute access, no Python call of a template's value and no Jinja global.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, cast

from jinja2 import nodes
from jinja2.compiler import Frame
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.sandbox import ImmutableSandboxedEnvironment

from namespaces.errors import did_you_mean
from namespaces.expressions import tree
from namespaces.expressions.analysis import assigned_names, is_outside
from namespaces.expressions.builtins import FILTERS, FUNCTIONS, TESTS
from namespaces.expressions.failures import RenderError
from namespaces.expressions.operators import OPERATORS
from namespaces.expressions.registry import Entry, bind
from namespaces.expressions.state import State
from namespaces.expressions.values import to_text

Root = Callable[[State], Iterator[object]]
_FILE = "<expression>"


class _Generator(NativeCodeGenerator):
    """Writes prints as values (typed rendering needs them) and lazy operands as functions."""

    def _make_finalize(self) -> NativeCodeGenerator._FinalizeInfo:
        return self._FinalizeInfo(None, None)  # nothing is folded: what fails must fail when rendered

    def visit_Filter(self, node: nodes.Filter, frame: Frame) -> None:
        self.write(f"{self.filters[node.name]}(context")
        lazy = "lambda: " if node.name.startswith("lazy:") else ""
        if node.node is None:
            if node.name.startswith(("filter:", "lazy:default")):  # the innermost filter of a filter tag
                self.write(f", {lazy}concat({frame.buffer})")
        else:
            self.write(f", {lazy}")
            self.visit(node.node, frame)
        for arg in node.args:
            self.write(f", {lazy}")
            self.visit(arg, frame)
        self.write(")")

    def visit_Macro(self, node: nodes.Macro, frame: Frame) -> None:
        self.macro_body(node, frame)
        self.writeline(f"context.define_macro({node.name!r}, macro)")


class PebbleEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox without globals, tests, loader or reachable attributes; its filters are the language."""

    code_generator_class = _Generator
    concat = staticmethod(lambda parts: "".join([to_text(part) for part in parts]))

    def __init__(self) -> None:
        super().__init__(optimized=False, autoescape=False, cache_size=0, keep_trailing_newline=True)
        self.globals.clear()
        self.tests.clear()
        self.filters.clear()
        self.filters.update(OPERATORS)
        for prefix, table in (("filter:", FILTERS), ("call:", FUNCTIONS), ("test:", TESTS)):
            self.filters.update({prefix + name: entry.call for name, entry in table.items()})

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        return False

    def is_safe_callable(self, obj: object) -> bool:
        return False

    def getattr(self, obj: object, attribute: str) -> NoReturn:
        raise RenderError(f"attribute not allowed: `{attribute}`")

    def getitem(self, obj: object, argument: object) -> NoReturn:
        raise RenderError(f"attribute not allowed: `{argument}`")


class Program:
    """Compiled code of one text: a generator of printed values, and its lines."""

    __slots__ = ("_lines", "root")

    def __init__(self, root: Root, lines: list[tuple[int, int]]) -> None:
        self.root = root
        self._lines = lines

    def line_of(self, error: BaseException) -> int:
        """The line of the text on which an error arose, from the generated code's line; 1 when unknown."""
        generated = 0
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == _FILE:
                generated = trace.tb_lineno
            trace = trace.tb_next
        for line, code_line in reversed(self._lines):
            if code_line <= generated:
                return line
        return 1


_environment: PebbleEnvironment | None = None


def compile_template(template: tree.Template) -> Program:
    """The program of a tree. Unknown names do not raise here but when their place is rendered."""
    global _environment
    if _environment is None:
        _environment = PebbleEnvironment()
    environment = _environment
    made = _Builder(template).template()
    made.set_environment(environment)
    code = environment.compile(cast(str, made), None, _FILE)
    namespace: dict[str, object] = {"environment": environment, "__file__": _FILE}
    exec(code, namespace)  # noqa: S102 - what Jinja2's Template.from_code does with its own compiler's output
    debug = str(namespace["debug_info"])
    pairs = [pair.split("=") for pair in debug.split("&")] if debug else []
    return Program(cast(Root, namespace["root"]), [(int(line), int(code_line)) for line, code_line in pairs])


def _op(line: int, name: str, *args: nodes.Expr) -> nodes.Filter:
    first = args[0] if args else None
    return nodes.Filter(first, name, list(args[1:]), [], None, None, lineno=line)


def _const(line: int, value: object) -> nodes.Const:
    return nodes.Const(value, lineno=line)


class _Builder:
    def __init__(self, template: tree.Template) -> None:
        self._template = template
        self._macros = {node.name: node for node in tree.walk(template) if isinstance(node, tree.Macro)}

    def template(self) -> nodes.Template:
        # macros are known from the first line on, wherever they are defined
        body: list[nodes.Node] = []
        for macro in self._macros.values():
            body.extend(self._macro(macro))
        body.extend(self._body(self._template.body))
        return nodes.Template(body, lineno=1)

    def _macro(self, node: tree.Macro) -> list[nodes.Node]:
        line = node.line
        flat: list[nodes.Expr] = [_const(line, node.name)]
        for name, default in node.params:
            flat += [_const(line, name), _const(line, default is not None)]
            flat.append(self.expr(default) if default is not None else _const(line, None))
        return [
            nodes.Macro(node.name, [], [], self._body(node.body), lineno=line),
            nodes.ExprStmt(_op(line, "lazy:macro", *flat), lineno=line),
        ]

    def _body(self, body: Iterable[tree.Node]) -> list[nodes.Node]:
        return [self._statement(node) for node in body if not isinstance(node, tree.Macro)]

    def _statement(self, node: tree.Node) -> nodes.Node:
        line = node.line
        match node:
            case tree.Text(_, text, raw):
                if raw:
                    return nodes.Output([_op(line, "raw", _const(line, text))], lineno=line)
                return nodes.Output([nodes.TemplateData(text, lineno=line)], lineno=line)
            case tree.Print(_, value):
                return nodes.Output([self.expr(value)], lineno=line)
            case tree.If(_, branches, otherwise):
                made = [
                    nodes.If(_op(test.line, "if", self.expr(test)), self._body(body), [], [], lineno=test.line)
                    for test, body in branches
                ]
                first = made[0]
                first.elif_ = made[1:]
                first.else_ = self._body(otherwise)
                return first
            case tree.For(_, name, values, body, otherwise):
                rest = self._body(otherwise)
                if rest:
                    rest = [nodes.If(_op(line, "null loop"), [], [], rest, lineno=line)]
                target = nodes.Name("_", "store", lineno=line)
                each = _op(line, "for", self.expr(values), _const(line, name))
                return nodes.For(target, each, self._body(body), rest, None, False, lineno=line)
            case tree.Set(_, name, value):
                return nodes.ExprStmt(_op(line, "set", self.expr(value), _const(line, name)), lineno=line)
            case tree.FilterTag(_, filters, body):
                applied = self.expr(filters)
                return nodes.FilterBlock(self._body(body), applied, lineno=line)
        raise AssertionError(f"no statement: {node}")

    def expr(self, node: tree.Expr) -> nodes.Expr:
        line = node.line
        match node:
            case tree.Literal(_, value):
                return _const(line, value)
            case tree.Path(_, root, keys):
                return _op(line, "path", _const(line, root), *(_const(line, key) for key in keys))
            case tree.Member(_, target, key):
                return _op(line, "member", self.expr(target), self.expr(key))
            case tree.Method(_, target, name, args):
                return _op(line, "method", self.expr(target), _const(line, name), *map(self.expr, args))
            case tree.Unary(_, op, value):
                return _op(line, f"unary {op}", self.expr(value))
            case tree.Binary(_, op, left, right):
                lazy = "lazy:" if op in ("??", "???") else ""
                return _op(line, lazy + op, self.expr(left), self.expr(right))
            case tree.Chain(_, op, items):
                lazy = "lazy:" if op in ("and", "or") else ""
                return _op(line, lazy + op, *map(self.expr, items))
            case tree.Ternary(_, condition, yes, no):
                test = _op(line, "? :", self.expr(condition))
                return nodes.CondExpr(test, self.expr(yes), self.expr(no), lineno=line)
            case tree.ListOf(_, items):
                return nodes.List([self.expr(item) for item in items], lineno=line)
            case tree.MapOf(_, pairs):
                flat = [self.expr(part) for pair in pairs for part in pair]
                return _op(line, "map", *flat) if flat else nodes.Dict([], lineno=line)
            case tree.Test(_, target, name, negated):
                return self._test(line, target, name, negated)
            case tree.Filtered():
                return self._filter(node)
            case tree.Call():
                return self._call(node)
        raise AssertionError(f"no expression: {node}")

    def _fail(self, line: int, message: str) -> nodes.Expr:
        return _op(line, "fail", _const(line, message))

    def _test(self, line: int, target: tree.Expr, name: str, negated: bool) -> nodes.Expr:
        if name not in TESTS:
            return self._fail(line, f"unknown test `{name}`{did_you_mean(name, TESTS)}")
        made = _op(line, "lazy:defined" if name == "defined" else f"test:{name}", self.expr(target))
        return nodes.Not(made, lineno=line) if negated else made

    def _filter(self, node: tree.Filtered) -> nodes.Expr:
        entry = FILTERS.get(node.name)
        if entry is None:
            return self._fail(node.line, f"unknown filter `{node.name}`{did_you_mean(node.name, FILTERS)}")
        args, complaint = self._bound(entry, f"filter `{node.name}`", node.args, node.named)
        if complaint:
            return self._fail(node.line, complaint)
        made = nodes.Filter(None, f"filter:{node.name}", args, [], None, None, lineno=node.line)
        if node.name == "default":
            made.name = "lazy:default"
        if node.target is not None:
            made.node = self.expr(node.target)
        return made

    def _call(self, node: tree.Call) -> nodes.Expr:
        line = node.line
        if node.name in self._macros:
            flat: list[nodes.Expr] = [self.expr(arg) for arg in node.args]
            for name, value in node.named:
                flat += [_const(line, name), self.expr(value)]
            return _op(line, "call macro", _const(line, node.name), _const(line, len(node.args)), *flat)
        entry = FUNCTIONS.get(node.name)
        if entry is None:
            return self._fail(line, f"unknown function `{node.name}`{did_you_mean(node.name, FUNCTIONS)}")
        args, complaint = self._bound(entry, f"function {node.name}()", node.args, node.named)
        if complaint:
            return self._fail(line, complaint)
        if node.name in ("render", "renderOnce"):
            given = [*node.args, *(value for _, value in node.named)]
            outside = any(is_outside(value, self._template) for value in given)
            recursive = args[1] if node.name == "render" else _const(line, False)
            names = {name for value in given for name in assigned_names(value, self._template)}
            marks = [_const(line, name) for name in sorted(names)]
            return _op(line, "render", _const(line, outside), args[0], recursive, *marks)
        return nodes.Filter(None, f"call:{node.name}", args, [], None, None, lineno=line)

    def _bound(
        self,
        entry: Entry,
        what: str,
        args: tuple[tree.Expr, ...],
        named: tuple[tuple[str, tree.Expr], ...],
    ) -> tuple[list[nodes.Expr], str]:
        given = dict(named)
        places, complaint = bind(entry, what, len(args), given)
        made: list[nodes.Expr] = []
        for index, place in enumerate(places):
            if isinstance(place, int):
                made.append(self.expr(args[place]))
            elif isinstance(place, str):
                made.append(self.expr(given[place]))
            else:
                made.append(_const(args[0].line if args else 1, entry.parameters[index][1]))
        return made, complaint
