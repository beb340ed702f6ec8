"""A file on its way to the newer language: its text, the rounds of edits, and what is told about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from namespaces.flows.catalog import Catalog
from namespaces.flows.migration import expressions, places
from namespaces.flows.migration.sheet import Edit, Sheet, origin
from namespaces.flows.reader import Path

MARK = "# lanner migrate "
Kind = Literal["converted", "needs you", "note"]


@dataclass(frozen=True, slots=True, order=True)
class Remark:
    """What a rule did or asks for. ``line`` counts from 1 in the text as it was before the conversion."""

    line: int
    rule: str
    kind: Kind
    message: str


@dataclass(frozen=True)
class Surroundings:
    """What rules know beside the file. ``flows`` holds every flow of the files given, by namespace and id."""

    catalog: Catalog
    flows: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    keep_1: bool = False

    def canonical(self, name: str) -> str:
        """The type's name for a written one; unknown ones stay."""
        entry = self.catalog.resolve(name)
        return entry.name if entry is not None else name


class Draft:
    """One file while rules are applied. Each ``commit`` proves the edits made since the one before."""

    def __init__(self, text: str, around: Surroundings, *, language: int = 1) -> None:
        self.text = text
        self.around = around
        self.language = language
        self.remarks: list[Remark] = []
        self.sheet = Sheet(text)
        self._history: list[set[Edit]] = []
        self._marking = False

    def begin(self, *, marking: bool = False) -> None:
        """A round of all rules. What the one before left for a person may be done by now; with ``marking`` it is."""
        self.remarks = [remark for remark in self.remarks if remark.kind != "needs you"]
        self._marking = marking

    @property
    def value(self) -> Any:
        return self.sheet.value

    @property
    def flow_id(self) -> tuple[str, str]:
        return str(self.value.get("namespace", "")), str(self.value.get("id", ""))

    def commit(self) -> bool:
        """Apply the edits made so far; whether there were any. Raises ``Unprovable``."""
        text = self.sheet.finish()
        if text == self.text:
            if self.sheet.edits:
                self.sheet = Sheet(text)
            return False
        self._history.append(set(self.sheet.edits))
        self.text = text
        self.sheet = Sheet(text)
        return True

    def drop(self) -> None:
        """Forget the edits made since the last commit."""
        self.sheet = Sheet(self.text)

    def origin(self, path: Path) -> int:
        """Where ``path`` was in the text as it was at first: an offset."""
        offset = self.sheet.offset(path)
        for edits in reversed(self._history):
            offset = origin(offset, edits)
        return offset

    def tasks(self) -> list[places.Task]:
        return list(places.tasks(self.value, self.around.canonical))

    def tell(self, rule: str, path: Path, message: str, kind: Kind = "converted") -> None:
        """Remember what was done at a place. The line is filled in from the offset when all is over."""
        remark = Remark(self.origin(path), rule, kind, message)
        if remark not in self.remarks:
            self.remarks.append(remark)

    def ask(self, rule: str, path: Path, message: str) -> None:
        """A person must act here: told, and written above the place."""
        self.tell(rule, path, message, "needs you")
        if self._marking:
            self.sheet.comment(path, f"{MARK}{rule}: {' '.join(message.split())}")

    def found(self, below: Any = None, path: Path = ()) -> Iterator[tuple[Path, str, expressions.Found]]:
        """Every text with expressions that can be read, with what stands in it."""
        for where, text in places.texts(self.value if below is None else below, path):
            found = expressions.find(text)
            if found is not expressions.NOTHING:
                yield where, text, found


Rule = Callable[[Draft], None]
