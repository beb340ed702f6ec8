"""One round of edits of a text, each said twice: as characters and as a change of the value. Both must agree.

What is edited where is the rules' business; this module keeps comments, and refuses what it cannot prove.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from namespaces.flows.migration import writing
from namespaces.flows.migration.nodes import Node, read_nodes, scalars, value_of, visible
from namespaces.flows.migration.offsets import spans
from namespaces.flows.migration.writing import Kept
from namespaces.flows.reader import Path, read_yaml


class Unprovable(Exception):
    """The text cannot be edited so that only the intended changes; the message says why."""


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Replace ``length`` characters at ``offset``."""

    offset: int
    length: int
    text: str

    @property
    def end(self) -> int:
        return self.offset + self.length


class Sheet:
    """A text, its value, and the edits collected so far. ``finish`` gives the new text."""

    def __init__(self, text: str) -> None:
        self.text = text
        root = read_nodes(text)
        assert root is not None, "an empty document has nothing to edit"
        self.root = root
        self.value: Any = value_of(root)
        self.edits: set[Edit] = set()
        self._asked: dict[int, set[Path]] = defaultdict(set)
        self._renamed: dict[int, str] = {}
        self._written: dict[int, Any] = {}
        self._removed: set[int] = set()
        self._added: dict[int, dict[str, Any]] = defaultdict(dict)
        self._spliced: dict[int, dict[int, list[Any]]] = defaultdict(dict)
        self._pieces: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
        self._scalars = sorted((node.start, node.end) for node in scalars(root))

    # -- reading

    def entry(self, path: Path) -> tuple[Node, Node, Node]:
        """The mapping, key and value nodes of the entry at ``path``. Raises ``KeyError``."""
        mapping = self.node(path[:-1])
        for key, value in visible(mapping) if mapping.kind == "mapping" else ():
            if key.resolved.text == path[-1]:
                return mapping, key, value
        raise KeyError(path)

    def node(self, path: Path) -> Node:
        """The node at ``path``, aliases followed."""
        node = self.root
        for part in path:
            node = node.resolved
            if isinstance(part, int):
                node = node.items[part]
            else:
                node = next(value for key, value in visible(node) if key.resolved.text == part)
        return node.resolved

    def get(self, path: Path) -> Any:
        """The value at ``path``, None where there is none."""
        value = self.value
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def kept(self, path: Path) -> Kept:
        """The text at ``path`` as a value for another place, with the comments that belong to it."""
        above = self.node(path[:-1])
        last = path[-1]
        if isinstance(last, int):
            node = above.items[last]
            before = above.items[last - 1].end if last else self._key_end(path[:-1])
            start = self._line_end(before)
        else:
            key, node = next((key, value) for key, value in visible(above) if key.resolved.text == last)
            start = key.end
            if node.kind == "scalar" or node.resolved is not node or node.flow:
                start = node.start
        stop = self.text.find("\n", node.end)
        stop = len(self.text) if stop < 0 else stop
        behind = self.text[node.end : stop]
        tail = behind.rstrip() if node.style not in ("|", ">") and behind.strip().startswith("#") else ""
        lead = tuple(self.comments(start, node.start, ())) if not above.flow else ()
        return Kept(node, lead, tail, min(start, node.start), node.end + len(tail))

    def _key_end(self, path: Path) -> int:
        """Where the key or dash of a list ends, whose first item's comments begin behind it."""
        if path and isinstance(path[-1], str):
            return self.entry(path)[1].end
        return self.node(path).start

    def line(self, path: Path) -> int:
        """The line of the key or item at ``path``, or of the nearest part that exists; from 1."""
        return self.text.count("\n", 0, self.offset(path)) + 1

    def offset(self, path: Path) -> int:
        """Where the key or item at ``path``, or the nearest part of it that exists, begins."""
        while path:
            try:
                if isinstance(path[-1], int):
                    return self.node(path).start
                return self.entry(path)[1].start
            except (KeyError, IndexError, StopIteration):
                path = path[:-1]
        return self.root.start

    # -- changing

    def rename(self, path: Path, name: str) -> None:
        """Another key for the entry at ``path``."""
        _, key, _ = self.entry(path)
        self._ask(key, path)
        self._renamed[id(key)] = name
        quote = key.style if key.style in ("'", '"') else ""
        self.edits.add(Edit(key.start, key.end - key.start, f"{quote}{name}{quote}"))

    def write(self, path: Path, value: Any) -> None:
        """Another value for the entry or item at ``path``; ``Kept`` pieces in it stay as written."""
        if isinstance(path[-1], int):
            node, mapping = self.node(path), None
        else:
            mapping, key, node = self.entry(path)
            if node.kind == "alias":
                raise Unprovable(f"'{path[-1]}' is an alias: write its value there first")
        self._ask(node, path)
        self._written[id(node)] = value
        if mapping is None or mapping.flow or self._inside_brackets(path):
            if isinstance(value, str) and node.kind == "scalar" and not self._inside_json(path):
                made = _quoted_like(node, value)
            else:
                made = writing.flow(value, self.text)
            self.edits.add(Edit(node.start, node.end - node.start, made))
        elif isinstance(value, str) and node.kind == "scalar" and node.start < node.end and "\n" not in value:
            self.edits.add(Edit(node.start, node.end - node.start, _quoted_like(node, value)))
        else:
            made = writing.entry("k", value, key.column, self.text)[2:]
            self._comments_above(key, node, (value,))
            start = key.end + self.text[key.end : node.start].index(":") + 1
            self.edits.add(Edit(start, node.end - start, made))

    def write_in(self, path: Path, start: int, end: int, text: str) -> None:
        """Replace part of the scalar at ``path``; offsets count in its value."""
        node = self.node(path)
        self._ask(node, path)
        piece = (start, end, text)
        if piece not in self._pieces[id(node)]:
            self._pieces[id(node)].append(piece)

    def remove(self, path: Path) -> None:
        """Take the entry at ``path`` away; comments in it stay above the place."""
        mapping, key, value = self.entry(path)
        self._ask(key, path)
        self._removed.add(id(key))
        index = next(n for n, (k, _) in enumerate(mapping.entries) if k is key)
        end = max(value.end, key.end + 1)
        if len(mapping.entries) == 1:
            self.edits.add(Edit(mapping.start, end - mapping.start, "{}" if not mapping.flow else ""))
            if mapping.flow:
                raise Unprovable("a map in brackets would be left empty")
        elif mapping.flow:
            if index + 1 < len(mapping.entries):
                start, end = key.start, mapping.entries[index + 1][0].start
            else:
                start = mapping.entries[index - 1][1].end
            self.edits.add(Edit(start, end - start, ""))
        else:
            self._remove_lines(mapping, index, key, end)

    def _remove_lines(self, mapping: Node, index: int, key: Node, end: int) -> None:
        begin = self.text.rfind("\n", 0, key.start) + 1
        stop = self._line_end(end)
        comments = self.comments(key.start, stop, ())
        indent = " " * key.column
        if not self.text[begin : key.start].strip():
            kept = "".join(f"{indent}{comment}\n" for comment in comments)
            self.edits.add(Edit(begin, stop - begin, kept))
            return
        # The first key behind a dash: the next one takes its place.
        following = mapping.entries[index + 1][0]
        between = self.comments(key.start, following.start, ())
        dash = len(self.text[begin : key.start]) - len(self.text[begin : key.start].lstrip())
        if between:
            above = "".join(f"{' ' * dash}{comment}\n" for comment in between)
            self.edits.add(Edit(begin, 0, above))
        self.edits.add(Edit(key.start, following.start - key.start, ""))

    def add(self, path: Path, key: str, value: Any, *, after: str | None = None) -> None:
        """A new entry in the mapping at ``path``, behind the entry ``after`` or at its end."""
        mapping = self.node(path)
        self._ask(mapping, path)
        self._added[id(mapping)][key] = value
        own = [(k, v) for k, v in mapping.entries]
        if not own:
            raise Unprovable("nothing can be added to an empty map")
        at = next((n for n, (k, _) in enumerate(own) if k.text == after), len(own) - 1)
        last_key, last = own[at]
        if mapping.flow or self._inside_brackets(path):
            name = f'"{key}"' if last_key.style == '"' else key
            end = max(last.end, last_key.end + 1)
            self.edits.add(Edit(end, 0, f", {name}: {writing.flow(value, self.text)}"))
            return
        stop = self._line_end(max(last.end, last_key.end + 1))
        made = f"{' ' * last_key.column}{writing.entry(key, value, last_key.column, self.text)}\n"
        if stop == len(self.text) and not self.text.endswith("\n"):
            made = "\n" + made.removesuffix("\n")
        self.edits.add(Edit(stop, 0, made))

    def splice(self, path: Path, values: list[Any]) -> None:
        """Put ``values`` in the place of the list item at ``path``; none takes it away."""
        index = path[-1]
        assert isinstance(index, int)
        sequence = self.node(path[:-1])
        item = sequence.items[index]
        self._ask(sequence, path[:-1])
        self._spliced[id(sequence)][index] = values
        if sequence.flow:
            if not values:
                raise Unprovable("an item of a list in brackets cannot be taken away")
            made = ", ".join(writing.flow(value, self.text) for value in values)
            self.edits.add(Edit(item.start, item.end - item.start, made))
            return
        column = item.column
        dash = self.text.rfind("-", 0, item.start)
        comments = self.comments(dash, self._line_end(item.end), values)
        begin = self.text.rfind("\n", 0, dash) + 1
        pieces = [f"{' ' * column}{comment}" for comment in comments]
        pieces += [f"{' ' * column}{writing.item_(value, column, self.text)}" for value in values]
        if self.text[begin:dash].strip():
            raise Unprovable("a list in a list is not taken apart")
        stop = self._line_end(item.end)
        made = "\n".join(pieces) + ("\n" if pieces and self.text[:stop].endswith("\n") else "")
        self.edits.add(Edit(begin, stop - begin, made))

    def comment(self, path: Path, words: str) -> bool:
        """A comment line above the place, unless it stands there already. False where none can be written."""
        if self.root.flow:
            return False
        while path and self._inside_brackets(path[:-1]):
            path = path[:-1]
        begin = self.text.rfind("\n", 0, self.offset(path)) + 1
        indent = re.match(r" *", self.text[begin:])
        above = self.text[:begin].split("\n")[:-1]
        while above and above[-1].lstrip().startswith("#"):
            if above.pop().strip() == words:
                return True
        self.edits.add(Edit(begin, 0, f"{indent[0] if indent else ''}{words}\n"))
        return True

    # -- the end

    def finish(self) -> str:
        """The new text. Raises ``Unprovable`` when it does not mean exactly what was asked for."""
        for node in scalars(self.root):
            if id(node) in self._pieces:
                self._apply_pieces(node)
        if not self.edits:
            return self.text
        self._check_shared()
        text = apply(self.text, self.edits)
        wanted = self._expected(self.root)
        document = read_yaml(text)
        if not document.ok:
            raise Unprovable(f"the edited text would not be YAML: {document.problems[0].message}")
        if not _same(document.value, wanted):
            raise Unprovable("the edited text would mean something else")
        return text

    def _ask(self, node: Node, path: Path) -> None:
        self._asked[id(node)].add(path)

    def _check_shared(self) -> None:
        """An anchored node is seen from several places: all of them must want the same."""
        if not any(node.anchored for node in _every(self.root)):
            return
        places: dict[int, set[Path]] = defaultdict(set)
        stack: list[tuple[Path, Node]] = [((), self.root)]
        while stack:
            path, node = stack.pop()
            node = node.resolved
            places[id(node)].add(path)
            for key, value in visible(node) if node.kind == "mapping" else ():
                below = (*path, key.resolved.text)
                places[id(key)].add(below)
                stack.append((below, value))
            stack += [((*path, index), item) for index, item in enumerate(node.items)]
        for asked, paths in self._asked.items():
            if asked in places and places[asked] != paths:
                raise Unprovable("an anchor is used at places that need different texts: write them out first")

    def _apply_pieces(self, node: Node) -> None:
        pieces = sorted(self._pieces[id(node)])
        if any(one[1] > other[0] for one, other in pairwise(pieces)):
            raise Unprovable("two rules want to change the same expression")
        made = node.text
        for start, end, text in reversed(pieces):
            made = made[:start] + text + made[end:]
        self._written[id(node)] = made
        where = spans(self.text, node)
        if where is None or (node.style == "" and _unsafe(made)):
            if node.style in ("|", ">"):
                raise Unprovable("a text is written in a way that cannot be edited")
            self.edits.add(Edit(node.start, node.end - node.start, writing.scalar(made)))
            return
        for start, end, text in pieces:
            begin = where[start][0] if start < len(where) else where[-1][1]
            stop = where[end - 1][1] if end > start else begin
            if node.style == "'":
                text = text.replace("'", "''")
            elif node.style == '"':
                text = text.replace("\\", "\\\\").replace('"', '\\"')
            self.edits.add(Edit(begin, stop - begin, text))

    def _expected(self, node: Node) -> Any:
        node = node.resolved
        if id(node) in self._written:
            return writing.plain(self._written[id(node)])
        if node.kind == "scalar":
            return node.value
        if node.kind == "sequence":
            found: list[Any] = []
            spliced = self._spliced.get(id(node), {})
            for index, item in enumerate(node.items):
                if index in spliced:
                    found += [writing.plain(value) for value in spliced[index]]
                else:
                    found.append(self._expected(item))
            return found
        made = {
            self._renamed.get(id(key), key.resolved.text): self._expected(value)
            for key, value in visible(node)
            if id(key) not in self._removed
        }
        for key_name, added in self._added.get(id(node), {}).items():
            made[key_name] = writing.plain(added)
        return made

    # -- the text around

    def _line_end(self, at: int) -> int:
        found = self.text.find("\n", at)
        return len(self.text) if found < 0 else found + 1

    def _inside_brackets(self, path: Path) -> bool:
        return any(self.node(path[:n]).flow for n in range(len(path) + 1))

    def _inside_json(self, path: Path) -> bool:
        return self.root.flow or (self._inside_brackets(path[:-1]) and self.node(path).style == '"')

    def comments(self, start: int, end: int, values: Any) -> list[str]:
        """The comments between two offsets that are not inside a kept piece."""
        kept = list(_kept_ranges(values))
        found = []
        for match in re.finditer(r"(?<![^\s])#[^\r\n]*", self.text[start:end]):
            at = start + match.start()
            if any(a <= at < b for a, b in kept) or any(a <= at < b for a, b in self._scalars):
                continue
            found.append(match[0].rstrip())
        return found

    def _comments_above(self, key: Node, node: Node, values: Any) -> None:
        comments = self.comments(key.end, node.end, values)
        if comments:
            begin = self.text.rfind("\n", 0, key.start) + 1
            if self.text[begin : key.start].strip():
                indent = len(self.text[begin : key.start]) - len(self.text[begin : key.start].lstrip())
            else:
                indent = key.column
            self.edits.add(Edit(begin, 0, "".join(f"{' ' * indent}{one}\n" for one in comments)))


def apply(text: str, edits: set[Edit]) -> str:
    """The text with all edits. Raises ``Unprovable`` when two of them overlap."""
    ordered = sorted(edits)
    pieces = []
    at = 0
    for edit in ordered:
        if edit.offset < at:
            raise Unprovable("two changes touch the same place")
        pieces += [text[at : edit.offset], edit.text]
        at = edit.end
    return "".join([*pieces, text[at:]])


def origin(offset: int, edits: set[Edit]) -> int:
    """Where a place of the edited text was before the edits."""
    shift = 0
    for edit in sorted(edits):
        here = edit.offset + shift
        if offset < here:
            break
        if offset < here + len(edit.text):
            return edit.offset
        shift += len(edit.text) - edit.length
    return offset - shift


def _every(node: Node) -> Iterator[Node]:
    yield node
    for key, value in node.entries:
        yield from _every(key)
        yield from _every(value)
    for item in node.items:
        yield from _every(item)


def _kept_ranges(value: Any) -> Iterator[tuple[int, int]]:
    if isinstance(value, Kept):
        yield value.start, value.end
    elif isinstance(value, dict):
        for item in value.values():
            yield from _kept_ranges(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _kept_ranges(item)


def _quoted_like(node: Node, value: Any) -> str:
    if isinstance(value, str) and node.kind == "scalar" and value.isprintable():
        if node.style == "'":
            return "'" + value.replace("'", "''") + "'"
        if node.style == '"' and '"' not in value and "\\" not in value:
            return f'"{value}"'
    return writing.scalar(value)


def _unsafe(text: str) -> bool:
    return ": " in text or " #" in text or text != text.strip() or text[:1] in "{[&*!|>'\"%@`,#?-:"


def _same(one: Any, other: Any) -> bool:
    """Equal, and of equal types: ``1`` is not ``true``."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
