"""Expressions inside one ``{{ }}`` or ``{% %}``: literals, paths, calls and the Pratt loop.

The table of binding powers is expressions.md 4.1; higher binds tighter.
"""

from __future__ import annotations

from typing import NoReturn

from namespaces.expressions import tree
from namespaces.expressions.failures import DEFAULT_LIMITS
from namespaces.expressions.lexer import Lexer, Token

_POWERS = {
    "??": 120, "???": 120, "..": 120, "~": 110, "|": 100, "*": 60, "/": 60, "%": 60, "+": 40, "-": 40,
    "==": 30, "equals": 30, "!=": 30, ">": 30, "<": 30, ">=": 30, "<=": 30,
    "is": 20, "contains": 20, "isIn": 20, "and": 15, "or": 10,
}  # fmt: skip
_UNARY = 500
_CONSTANTS: dict[str, bool | None] = {
    "true": True, "TRUE": True, "false": False, "FALSE": False,
    "null": None, "NULL": None, "none": None, "NONE": None,
}  # fmt: skip
_FLAT = ("~", "+", "and", "or")
_FOREIGN_WORDS = {"in": "`contains` or `isIn`", "matches": "the filter `regexMatch`", "if": "`a ? b : c`"}
#: How deep trees may become: the generated Python nests parentheses, of which CPython takes 200.
_MAX_TREE = 60


class ExpressionReader:
    """Reads expressions from the tokens of one segment. ``count`` grows by the nodes made."""

    def __init__(self, lexer: Lexer, tokens: tuple[Token, ...]) -> None:
        self._lexer = lexer
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self.count = 0
        self.tag = ""
        self.dashed: list[str] = []

    # -- tokens

    @property
    def token(self) -> Token:
        return self._tokens[self._at]

    def line(self) -> int:
        return self._lexer.position(self.token.at)[0] if self._tokens else 1

    def fail(self, message: str, hint: str = "") -> NoReturn:
        self._lexer.fail(message, self.token.at, hint)

    def unexpected(self, wanted: str) -> NoReturn:
        token = self.token
        seen = "the end of the expression" if token.kind == "end" else f"`{self._lexer.text[token.at : token.to]}`"
        self.fail(f"unexpected {seen}, expected {wanted}")

    def accept(self, op: str) -> bool:
        if self.token.kind == "op" and self.token.value == op:
            self._at += 1
            return True
        return False

    def expect(self, op: str) -> None:
        if not self.accept(op):
            self.unexpected(f"`{op}`")

    def word(self, word: str) -> None:
        if self.token.kind != "name" or self.token.value != word:
            self.unexpected(f"`{word}`")
        self._at += 1

    def name(self, what: str) -> str:
        if self.token.kind != "name":
            self.unexpected(what)
        value = str(self.token.value)
        self._at += 1
        return value

    def name_or_string(self, what: str) -> str:
        if self.token.kind == "string":
            value = str(self.token.value)
            self._at += 1
            return value
        return self.name(what)

    def skip_name(self) -> None:
        """``{% endmacro f %}`` may repeat the name."""
        if self.token.kind in ("name", "string"):
            self._at += 1

    def finish(self) -> None:
        if self._tokens and self.token.kind != "end":
            if self.token.kind == "name" and str(self.token.value) in _FOREIGN_WORDS:
                word = str(self.token.value)
                self.fail(f"`{word}` is not an operator: use {_FOREIGN_WORDS[word]}")
            self.unexpected("an operator or the end")

        self._note_dashes()

    def _note_dashes(self) -> None:
        """``inputs.key-name`` is a subtraction; lint wants to know the text that was meant (flows.md 10.2)."""
        tokens = self._tokens
        at = 0
        while at < len(tokens):
            end = at
            while end + 2 < len(tokens) and tokens[end + 1].value == "." and tokens[end + 2].kind == "name":
                end += 2
            last = end
            while last + 2 < len(tokens) and tokens[last + 1].value == "-" and self._glued(last):
                last += 2
            if tokens[at].kind == "name" and end > at and last > end:
                self.dashed.append(self._lexer.text[tokens[at].at : tokens[last].to])
            at = last + 1

    def _glued(self, at: int) -> bool:
        name, sign, after = self._tokens[at : at + 3]
        return after.kind == "name" and name.to == sign.at and sign.to == after.at

    # -- expressions

    def expression(self, power: int = 0) -> tree.Expr:
        """One expression whose operators bind at least with ``power``; the ternary belongs to 0 only."""
        self._depth += 1
        if self._depth > _MAX_TREE:
            self.fail("too deeply nested")
        left = self._unary()
        while True:
            op = self._operator()
            bound = _POWERS.get(op)
            if bound is None or bound < power:
                break
            left = self._infix(left, op, bound)
        if power == 0 and self.token.kind == "op" and self.token.value == "?":
            line = self.line()
            self._at += 1
            yes = self.expression()
            self.expect(":")
            left = self._made(tree.Ternary(line, left, yes, self.expression()))
        self._depth -= 1
        return left

    def _operator(self) -> str:
        return str(self.token.value) if self.token.kind in ("op", "name") else ""

    def _made(self, node: tree.Expr) -> tree.Expr:
        self.count += 1
        return node

    def _infix(self, left: tree.Expr, op: str, bound: int) -> tree.Expr:
        line = self.line()
        self._at += 1
        if op == "|":
            return self.filter(left)
        if op == "is":
            negated = self.token.kind == "name" and self.token.value == "not"
            if negated:
                self._at += 1
            return self._made(tree.Test(line, left, self.name("the name of a test"), negated))
        right = self.expression(bound + 1)
        if op in _FLAT:
            items = (*left.items, right) if isinstance(left, tree.Chain) and left.op == op else (left, right)
            return self._made(tree.Chain(line, op, items))
        return self._made(tree.Binary(line, "==" if op == "equals" else op, left, right))

    def _unary(self) -> tree.Expr:
        token = self.token
        if (token.kind == "name" and token.value == "not") or (token.kind == "op" and token.value in ("-", "+")):
            line = self.line()
            self._at += 1
            return self._made(tree.Unary(line, str(token.value), self.expression(_UNARY)))
        return self._primary()

    def _primary(self) -> tree.Expr:
        token = self.token
        line = self.line()
        if token.kind == "op" and token.value == "(":
            self._at += 1
            inner = self.expression()
            self.expect(")")
            return self._postfix(inner, path=False)
        if token.kind == "op" and token.value == "[":
            self._at += 1
            return self._postfix(self._made(tree.ListOf(line, self._items("]"))), path=False)
        if token.kind == "op" and token.value == "{":
            self._at += 1
            return self._made(self._map(line))
        if token.kind in ("string", "int", "float"):
            self._at += 1
            value = token.value
            assert isinstance(value, str | int | float)
            return self._postfix(self._made(tree.Literal(line, value)), path=False)
        if token.kind == "parts":
            self._at += 1
            return self._made(self._parts(line, token))
        if token.kind != "name":
            self.unexpected("a value")
        name = str(token.value)
        self._at += 1
        if self.accept("("):
            args, named = self._arguments()
            return self._postfix(self._made(tree.Call(line, name, args, named)), path=False)
        if name in _CONSTANTS:
            return self._postfix(self._made(tree.Literal(line, _CONSTANTS[name])), path=False)
        if name in ("and", "or", "is", "contains", "equals", "isIn"):
            self._at -= 1
            self.unexpected("a value")
        return self._postfix(self._made(tree.Path(line, name)), path=True)

    def _postfix(self, target: tree.Expr, *, path: bool) -> tree.Expr:
        """``path`` while only constant keys were seen, so that plain paths stay one node."""
        steps = 0
        while True:
            line = self.line()
            if self.accept("."):
                name = self.name("a name after the dot")
                if self.accept("("):
                    target = self._made(tree.Method(line, target, name, self._items(")")))
                    path = False
                else:
                    key: tree.Expr = tree.Literal(line, name)
                    target = self._step(line, target, key, path)
            elif self.accept("["):
                key = self.expression()
                self.expect("]")
                target = self._step(line, target, key, path)
            else:
                return target
            path = path and isinstance(target, tree.Path)
            steps += 1
            if steps > DEFAULT_LIMITS.nesting:
                self.fail("too deeply nested: too many steps in one path")

    def _step(self, line: int, target: tree.Expr, key: tree.Expr, path: bool) -> tree.Expr:
        constant = (
            isinstance(key, tree.Literal) and isinstance(key.value, str | int) and not isinstance(key.value, bool)
        )
        if path and constant and isinstance(target, tree.Path) and isinstance(key, tree.Literal):
            assert isinstance(key.value, str | int)
            return tree.Path(target.line, target.root, (*target.keys, key.value))
        return self._made(tree.Member(line, target, key))

    def _items(self, closer: str) -> tuple[tree.Expr, ...]:
        items: list[tree.Expr] = []
        while not self.accept(closer):
            if items:
                self.expect(",")
            items.append(self.expression())
        return tuple(items)

    def _map(self, line: int) -> tree.MapOf:
        items: list[tuple[tree.Expr, tree.Expr]] = []
        while not self.accept("}"):
            if items:
                self.expect(",")
            key = self.expression()
            self.expect(":")
            items.append((key, self.expression()))
        return tree.MapOf(line, tuple(items))

    def _parts(self, line: int, token: Token) -> tree.Expr:
        assert isinstance(token.value, tuple)
        items: list[tree.Expr] = []
        for part in token.value:
            if isinstance(part, str):
                if part:
                    items.append(self._made(tree.Literal(line, part)))
                continue
            inner = ExpressionReader(self._lexer, part)
            inner._depth = self._depth
            items.append(inner.expression())
            inner.finish()
            self.count += inner.count
        return tree.Chain(line, "~", tuple(items))

    def _arguments(self) -> tuple[tuple[tree.Expr, ...], tuple[tuple[str, tree.Expr], ...]]:
        args: list[tree.Expr] = []
        named: list[tuple[str, tree.Expr]] = []
        while not self.accept(")"):
            if args or named:
                self.expect(",")
            after = self._tokens[self._at + 1] if self._at + 1 < len(self._tokens) else None
            if self.token.kind == "name" and after is not None and after.kind == "op" and after.value == "=":
                name = self.name("an argument")
                self.expect("=")
                if name in dict(named):
                    self.fail(f"the argument `{name}` is given twice")
                named.append((name, self.expression()))
            elif named:
                self.unexpected("a named argument")
            else:
                args.append(self.expression())
        return tuple(args), tuple(named)

    def filter(self, target: tree.Expr | None) -> tree.Filtered:
        """The filter that stands next, with its arguments."""
        line = self.line()
        name = self.name("the name of a filter")
        args: tuple[tree.Expr, ...] = ()
        named: tuple[tuple[str, tree.Expr], ...] = ()
        if self.accept("("):
            args, named = self._arguments()
        self.count += 1
        return tree.Filtered(line, target, name, args, named)
