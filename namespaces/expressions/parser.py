"""Tokens to the tree: Pebble's grammar, a Pratt loop over the precedence table of expressions.md 4.1.

Statements are here, expressions in ``operands``; neither knows which functions or filters exist.
"""

from __future__ import annotations

from namespaces.expressions import tree
from namespaces.expressions.failures import DEFAULT_LIMITS, Limits, SyntaxProblem
from namespaces.expressions.lexer import Lexer, Segment
from namespaces.expressions.operands import ExpressionReader

_REMOVED = frozenset((
    "import", "from", "include", "extends", "embed", "cache", "parallel", "flush", "autoescape", "with", "do", "break",
    "continue", "call", "trans",
))  # fmt: skip
#: CPython takes 20 nested loops and 200 nested brackets in one piece of code.
_MAX_TAGS = 15
_MAX_HEIGHT = 80
_CLOSING = frozenset((
    "elseif", "else", "endif", "endfor", "endmacro", "endfilter", "endblock",
))  # fmt: skip


def parse_template(text: str, limits: Limits = DEFAULT_LIMITS) -> tree.Template:
    """The tree of a text. Raises :class:`SyntaxProblem`."""
    lexer = Lexer(text, limits)
    template = _Statements(lexer, lexer.segments()).template()
    deep = _too_deep(template)
    if deep is not None:
        raise SyntaxProblem(f"too deeply nested at line {deep.line}", line=deep.line, column=1)
    return template


def _too_deep(template: tree.Template) -> tree.Node | None:
    """The first node below too many others: long chains of operators nest as brackets do."""
    pending: list[tuple[tree.Node, int]] = [(template, 0)]
    while pending:
        node, depth = pending.pop()
        if depth > _MAX_HEIGHT:
            return node
        pending.extend((child, depth + 1) for child in tree.children(node))
    return None


class _Statements:
    def __init__(self, lexer: Lexer, segments: list[Segment]) -> None:
        self._lexer = lexer
        self._segments = segments
        self._next = 0
        self._depth = 0
        self._nodes = 0
        self._dashed: list[str] = []

    def template(self) -> tree.Template:
        body, _ = self._body(frozenset(), None)
        return tree.Template(1, body, self._nodes, tuple(self._dashed))

    def _body(self, until: frozenset[str], opened: Segment | None) -> tuple[tuple[tree.Node, ...], ExpressionReader]:
        """Statements up to one of the closing tags, and the reader that stands behind its name."""
        self._depth += 1
        if self._depth > _MAX_TAGS + 1:
            self._lexer.fail(f"too deeply nested: more than {_MAX_TAGS} tags", opened.at if opened else 0)
        nodes: list[tree.Node] = []
        while self._next < len(self._segments):
            segment = self._segments[self._next]
            self._next += 1
            if segment.kind in ("text", "raw"):
                nodes.append(tree.Text(self._lexer.position(segment.at)[0], segment.text, segment.kind == "raw"))
                continue
            reader = ExpressionReader(self._lexer, segment.tokens)
            if segment.kind == "print":
                nodes.append(tree.Print(reader.line(), reader.expression()))
                self._done(reader)
                continue
            name = reader.name("the name of a tag")
            if name in until:
                self._depth -= 1
                reader.tag = name
                return tuple(nodes), reader
            nodes.extend(self._tag(name, reader, segment))
        if opened is not None:
            self._lexer.fail(f"unclosed tag: expected {' or '.join(sorted(until))}", opened.at)
        return tuple(nodes), ExpressionReader(self._lexer, ())

    def _done(self, reader: ExpressionReader) -> None:
        reader.finish()
        self._nodes += reader.count
        self._dashed.extend(reader.dashed)

    def _tag(self, name: str, reader: ExpressionReader, segment: Segment) -> list[tree.Node]:
        if name == "if":
            return [self._if(reader, segment)]
        if name == "for":
            return [self._for(reader, segment)]
        if name == "set":
            return [self._set(reader)]
        if name == "macro":
            return [self._macro(reader, segment)]
        if name == "filter":
            return [self._filter(reader, segment)]
        if name == "block":
            reader.name_or_string("the name of the block")
            self._done(reader)
            body, end = self._body(frozenset({"endblock"}), segment)
            end.skip_name()
            self._done(end)
            return list(body)
        if name == "elif":
            self._lexer.fail("unknown tag `elif`: write `elseif`", segment.at)
        if name in _REMOVED:
            self._lexer.fail(f"the tag `{name}` is not supported", segment.at)
        if name in _CLOSING:
            self._lexer.fail(f"unexpected tag `{name}`", segment.at)
        return self._lexer.fail(f"unknown tag `{name}`", segment.at)

    def _if(self, reader: ExpressionReader, segment: Segment) -> tree.If:
        line = reader.line()
        branches: list[tuple[tree.Expr, tuple[tree.Node, ...]]] = []
        while True:
            condition = reader.expression()
            self._done(reader)
            body, reader = self._body(frozenset({"elseif", "else", "endif"}), segment)
            branches.append((condition, body))
            if reader.tag != "elseif":
                break
        otherwise: tuple[tree.Node, ...] = ()
        if reader.tag == "else":
            self._done(reader)
            otherwise, reader = self._body(frozenset({"endif"}), segment)
        self._done(reader)
        return tree.If(line, tuple(branches), otherwise)

    def _for(self, reader: ExpressionReader, segment: Segment) -> tree.For:
        line = reader.line()
        variable = reader.name("the name of the loop's variable")
        reader.word("in")
        values = reader.expression()
        self._done(reader)
        body, reader = self._body(frozenset({"else", "endfor"}), segment)
        otherwise: tuple[tree.Node, ...] = ()
        if reader.tag == "else":
            self._done(reader)
            otherwise, reader = self._body(frozenset({"endfor"}), segment)
        self._done(reader)
        return tree.For(line, variable, values, body, otherwise)

    def _set(self, reader: ExpressionReader) -> tree.Set:
        line = reader.line()
        variable = reader.name("the name of a variable")
        reader.expect("=")
        value = reader.expression()
        self._done(reader)
        return tree.Set(line, variable, value)

    def _macro(self, reader: ExpressionReader, segment: Segment) -> tree.Macro:
        line = reader.line()
        name = reader.name("the name of the macro")
        reader.expect("(")
        params: list[tuple[str, tree.Expr | None]] = []
        while not reader.accept(")"):
            if params:
                reader.expect(",")
            param = reader.name("the name of a parameter")
            params.append((param, reader.expression() if reader.accept("=") else None))
        self._done(reader)
        body, end = self._body(frozenset({"endmacro"}), segment)
        end.skip_name()
        self._done(end)
        return tree.Macro(line, name, tuple(params), body)

    def _filter(self, reader: ExpressionReader, segment: Segment) -> tree.FilterTag:
        line = reader.line()
        applied = reader.filter(None)
        while reader.accept("|"):
            applied = reader.filter(applied)
        self._done(reader)
        body, end = self._body(frozenset({"endfilter"}), segment)
        self._done(end)
        return tree.FilterTag(line, applied, body)
