"""Template text to segments (text, print, tag) and their tokens: Pebble's lexical rules, expressions.md 1.

Knows quotes, brackets and delimiters; what a sequence of tokens means is the parser's business.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple, NoReturn

from namespaces.expressions.failures import DEFAULT_LIMITS, Limits, SyntaxProblem, longer


class Token(NamedTuple):
    """``kind``: name, int, float, string, parts (text with ``#{}``), op, end. ``at`` and ``to`` are offsets."""

    kind: str
    value: object
    at: int
    to: int


class Segment(NamedTuple):
    """``kind``: text, raw, print, tag."""

    kind: str
    text: str
    tokens: tuple[Token, ...]
    at: int


_OPEN = re.compile(r"\{[{%#]")
_VERBATIM = re.compile(r"\{%(-?)\s*(raw|verbatim)\s*(-?)%\}")
_SPACE = re.compile(r"\s+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"(\d+)(?:\.(\d+)|(L)(?![A-Za-z0-9_]))?")
_OP = re.compile(r"\?\?\?|\?\?|\.\.|==|!=|<=|>=|[-+*/%~|<>?:.,=()\[\]{}]")
_FOREIGN = re.compile(r"\*\*|//|&&|\|\||!|&|\^|@|\$|;|`|\\|#")
_ADVICE = {
    "**": "the power operator is limited: `**` is not part of the language",
    "//": "`//` is not an operator: `/` divides integers without a remainder",
    "&&": "`&&` is not an operator: write `and`",
    "||": "`||` is not an operator: write `or`",
    "!": "`!` is not an operator: write `not`",
}
_CLOSERS = {"(": ")", "[": "]", "{": "}"}


class Lexer:
    """One pass over one text."""

    def __init__(self, text: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self.text = text
        self._limits = limits
        self._starts: list[int] | None = None

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1."""
        if self._starts is None:
            self._starts = [0, *(m.end() for m in re.finditer("\n", self.text))]
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def fail(self, message: str, offset: int, hint: str = "", limit: str = "") -> NoReturn:
        line, column = self.position(offset)
        message = f"{message} at line {line}, column {column}"
        raise SyntaxProblem(message, line=line, column=column, hint=hint, limit=limit)

    def _fail_if_long(self, began: int, at: int) -> None:
        """One expression or tag from ``began`` on is bounded, so that reading it is."""
        most = self._limits.expression
        if at - began > most or ((at - began) * 4 > most and longer(self.text[began:at], most)):
            self.fail(f"an expression has more than {most} bytes", began, limit="expression_bytes")

    def segments(self) -> list[Segment]:
        """The whole text in order. Raises :class:`SyntaxProblem` for what is unclosed or no token."""
        text = self.text
        if longer(text, self._limits.text):
            message = f"the text has {len(text)} characters, the limit is {self._limits.text} bytes"
            raise SyntaxProblem(message, line=1, limit="template_bytes")
        found: list[Segment] = []
        at = 0
        trim_next = False
        while True:
            opening = _OPEN.search(text, at)
            end = opening.start() if opening else len(text)
            chunk = text[at:end]
            if trim_next:
                chunk = chunk.lstrip()
                trim_next = False
            if opening is None:
                if chunk:
                    found.append(Segment("text", chunk, (), at))
                return found
            verbatim = _VERBATIM.match(text, end)
            trim_before = text.startswith("-", end + 2)
            if verbatim and verbatim[2] == "raw":
                trim_before = False  # Kestra takes raw blocks out before the engine sees any whitespace mark
            if trim_before:
                chunk = chunk.rstrip()
            if chunk:
                found.append(Segment("text", chunk, (), at))
            if verbatim:
                at, trim_next = self._verbatim(verbatim, found)
            elif opening[0] == "{#":
                close = text.find("#}", end + 2)
                if close < 0:
                    self.fail("unclosed comment `{#`", end)
                at = close + 2
            else:
                closer = "}}" if opening[0] == "{{" else "%}"
                start = end + 2 + (1 if trim_before else 0)
                tokens, at, trim_next = self._inside(start, closer, opening[0], end)
                found.append(Segment("print" if closer == "}}" else "tag", "", tuple(tokens), end))

    def _verbatim(self, opened: re.Match[str], found: list[Segment]) -> tuple[int, bool]:
        word = opened[2]
        closed = re.compile(r"\{%(-?)\s*end" + word + r"\s*(-?)%\}").search(self.text, opened.end())
        if closed is None:
            self.fail(f"unclosed tag `{word}`", opened.start())
        body = self.text[opened.end() : closed.start()]
        if word == "verbatim":
            body = body.lstrip() if opened[3] else body
            body = body.rstrip() if closed[1] else body
        if body:
            found.append(Segment("raw" if word == "raw" else "text", body, (), opened.end()))
        return closed.end(), bool(closed[2]) and word == "verbatim"

    def _inside(self, at: int, closer: str, opener: str, began: int) -> tuple[list[Token], int, bool]:
        tokens: list[Token] = []
        depth: list[str] = []
        text = self.text
        while True:
            blank = _SPACE.match(text, at)
            if blank:
                at = blank.end()
            if at >= len(text):
                self.fail(f"unclosed `{opener}`", began)
            if at - began > self._limits.expression:
                self._fail_if_long(began, at)
            if not depth:
                trim = text.startswith("-" + closer, at)
                if trim or text.startswith(closer, at):
                    self._fail_if_long(began, at)
                    tokens.append(Token("end", opener, at, at))
                    return tokens, at + len(closer) + (1 if trim else 0), trim
            token = self._token(at)
            if token.kind == "op" and isinstance(token.value, str):
                self._brackets(token, depth)
            tokens.append(token)
            at = token.to

    def _brackets(self, token: Token, depth: list[str]) -> None:
        value = str(token.value)
        if value in _CLOSERS:
            depth.append(_CLOSERS[value])
            if len(depth) > DEFAULT_LIMITS.nesting:
                self.fail(f"too deeply nested: more than {DEFAULT_LIMITS.nesting} brackets", token.at)
        elif value in (")", "]", "}"):
            if not depth or depth[-1] != value:
                self.fail(f"unexpected `{value}`" + (f", expected `{depth[-1]}`" if depth else ""), token.at)
            depth.pop()

    def _token(self, at: int) -> Token:
        text = self.text
        char = text[at]
        if char in "'\"":
            return self._string(at)
        name = _NAME.match(text, at)
        if name:
            return Token("name", name[0], at, name.end())
        number = _NUMBER.match(text, at)
        if number:
            return self._number(number)
        foreign = _FOREIGN.match(text, at)
        if foreign and not text.startswith("!=", at):
            self.fail(_ADVICE.get(foreign[0], f"unexpected `{foreign[0]}`"), at)
        op = _OP.match(text, at)
        if op is None:
            self.fail(f"unexpected character {char!r}", at)
        return Token("op", op[0], at, op.end())

    def _number(self, number: re.Match[str]) -> Token:
        following = self.text[number.end() : number.end() + 1]
        if following.isalnum() or following == "_":
            self.fail(f"`{number[0]}{following}` is not a number", number.start())
        if number[2] is not None:
            value = float(number[0])
            if value in (float("inf"), float("-inf")):
                self.fail("the number is too large", number.start())
            return Token("float", value, number.start(), number.end())
        if len(number[1]) > 300:
            self.fail("the number has more than 300 digits", number.start())
        return Token("int", int(number[1]), number.start(), number.end())

    def _string(self, at: int) -> Token:
        """Only the enclosing quote can be escaped; every other backslash stays as typed."""
        text = self.text
        quote = text[at]
        parts: list[object] = []
        piece: list[str] = []
        here = at + 1
        while True:
            if here >= len(text):
                self.fail(f"unclosed {quote}", at)
            char = text[here]
            if char == "\\" and text.startswith(quote, here + 1):
                piece.append(quote)
                here += 2
            elif char == quote:
                break
            elif quote == '"' and char == "#" and text.startswith("{", here + 1):
                parts.append("".join(piece))
                piece = []
                tokens, here = self._interpolation(here)
                parts.append(tokens)
            else:
                piece.append(char)
                here += 1
        last = "".join(piece)
        if not parts:
            return Token("string", last, at, here + 1)
        return Token("parts", (*parts, last), at, here + 1)

    def _interpolation(self, began: int) -> tuple[tuple[Token, ...], int]:
        at = began + 2
        tokens: list[Token] = []
        depth: list[str] = []
        while True:
            blank = _SPACE.match(self.text, at)
            if blank:
                at = blank.end()
            if at >= len(self.text) or at - began > self._limits.expression:
                self.fail("unclosed `#{`", began)
            if not depth and self.text[at] == "}":
                tokens.append(Token("end", "#{", at, at))
                return tuple(tokens), at + 1
            token = self._token(at)
            if token.kind == "op":
                self._brackets(token, depth)
            tokens.append(token)
            at = token.to
