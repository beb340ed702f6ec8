"""Which types exist: names, aliases, properties, and the nearest name to a misspelt one.

Holds declarations only; what runs is found by the runner from the same class.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import SchemaValidator

from namespaces.errors import Problem
from namespaces.flows.aliases import SHORT, candidates, older_names
from namespaces.flows.types.fields import Nested
from namespaces.plugin import (
    ConditionType,
    FlowableType,
    PluginType,
    RunnerType,
    TaskType,
    TriggerType,
    as_text_where_wanted,
)

ENTRY_POINT_GROUP = "lanner.tasks"


@dataclass(frozen=True)
class TypeEntry:
    """One type as the parser, the schema and the documentation see it.

    ``kind`` is task, flowable, trigger, condition or runner.
    """

    name: str
    kind: str
    cls: type[PluginType]

    @property
    def short(self) -> str:
        """The name without ``io.kestra.plugin.``."""
        return self.name.removeprefix(SHORT)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every name a flow may write, the type's own first."""
        names = (self.name, *self.cls.aliases)
        return tuple(dict.fromkeys((*names, *(older for name in names for older in older_names(name)))))

    @property
    def examples(self) -> tuple[str, ...]:
        """The type's own, or the one of its page."""
        from namespaces.flows.types.samples import example_of

        made = None if self.cls.examples else example_of(self.short)
        return self.cls.examples if made is None else (made,)

    def described(self, *, outputs: bool = False) -> dict[str, str]:
        """Properties, or outputs, with what they are; empty words where a plugin says nothing."""
        from namespaces.flows.types.words import OUTPUTS, SHARED

        cls: type[BaseModel] | None = self.cls.outputs if outputs else self.cls
        words = OUTPUTS if outputs else SHARED
        fields = cls.model_fields.items() if cls is not None else ()
        return {
            name: field.description or words.get(name, "") for key, field in fields for name in [field.alias or key]
        }

    @property
    def inline(self) -> bool:
        """Whether the shell runs it where the event is applied."""
        return issubclass(self.cls, TaskType) and self.cls.inline

    @cached_property
    def properties(self) -> frozenset[str]:
        """The names a flow may write."""
        return frozenset(field.alias or name for name, field in self.cls.model_fields.items())

    @cached_property
    def nested(self) -> Mapping[str, str]:
        """Properties that hold other parts of the language, with the kind of part."""
        found: dict[str, str] = {}
        for name, field in self.cls.model_fields.items():
            for mark in field.metadata:
                if isinstance(mark, Nested):
                    found[field.alias or name] = mark.kind
        return found

    def known_at(self, path: Iterable[Any]) -> frozenset[str]:
        """The names that may stand in the map at ``path`` below the type's properties; empty when any may."""
        cls: type[BaseModel] = self.cls
        for part in path:
            if not isinstance(part, str):
                continue
            field = next((f for name, f in cls.model_fields.items() if (f.alias or name) == part), None)
            below = None if field is None else _model_in(field.annotation)
            if below is None:
                return frozenset()
            cls = below
        return frozenset(field.alias or name for name, field in cls.model_fields.items())

    @cached_property
    def _validate(self) -> Any:
        self.cls.model_rebuild()
        validator = self.cls.__pydantic_validator__
        assert isinstance(validator, SchemaValidator)
        return validator.validate_python

    def check(
        self, values: dict[str, Any], text_at: Callable[[tuple[Any, ...], Any], str] | None = None
    ) -> tuple[list[Any], dict[str, Any]]:
        """Pydantic's findings about the properties as written, none when they fit; and the properties.

        Numbers and booleans where the type wants text come back as text; ``text_at`` knows how they were written.
        """
        try:
            self._validate(values, by_alias=True, by_name=False)
        except ValidationError as error:
            repaired = as_text_where_wanted(values, error, text_at)
            if repaired is None:
                return error.errors(include_url=False), values
            return self.check(repaired, text_at)
        return [], values


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first map with fixed properties inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)


_KINDS: tuple[tuple[type[PluginType], str], ...] = (
    (TriggerType, "trigger"),
    (FlowableType, "flowable"),
    (TaskType, "task"),
    (ConditionType, "condition"),
    (RunnerType, "runner"),
)


class _Known(NamedTuple):
    """Types by name, and by every name, alias and short name seen."""

    entries: dict[str, TypeEntry]
    names: dict[str, TypeEntry | None]

    def add(self, cls: type[PluginType]) -> None:
        kind = next((kind for base, kind in _KINDS if issubclass(cls, base)), None)
        if kind is None or not cls.type_name:
            raise ValueError(f"{cls.__module__}.{cls.__qualname__} is not a task or trigger type with a type_name")
        known = self.entries.get(cls.type_name)
        if known is not None:
            if known.cls is cls:
                return
            raise ValueError(
                f"type {cls.type_name} is declared twice: by {known.cls.__module__} and by {cls.__module__}"
            )
        entry = TypeEntry(cls.type_name, kind, cls)
        self.entries[cls.type_name] = entry
        self.names[cls.type_name] = entry
        for alias in cls.aliases:
            self.names.setdefault(alias, entry)


class Catalog:
    """All known types: the built-in ones, and ``more`` of plugins.

    ``more`` may repeat a built-in type; the same name for two different classes raises ``ValueError``. The built-in
    ones alone are loaded when a type is first asked for: a server is ready before.
    """

    def __init__(self, more: Iterable[type[PluginType]] = ()) -> None:
        self.more = tuple(more)
        if self.more:
            self.load()  # a plugin that cannot be told apart must refuse the start

    @cached_property
    def _known(self) -> _Known:
        from namespaces.flows.types import builtin

        made = _Known({}, {})
        for group in (
            builtin.FLOWABLE_TYPES,
            builtin.CONDITION_TYPES,
            builtin.RUNNER_TYPES,
            builtin.TRIGGER_TYPES,
            builtin.ALL_TASK_TYPES,
            self.more,
        ):
            for cls in group:
                made.add(cls)
        return made

    def load(self) -> int:
        """Load the types now instead of at the first question; returns how many there are."""
        return len(self._known.entries)

    def __iter__(self) -> Iterator[TypeEntry]:
        return iter(self._known.entries.values())

    def resolve(self, name: str) -> TypeEntry | None:
        """The type with that name, alias or short name; None when there is none."""
        names = self._known.names
        try:
            return names[name]
        except KeyError:
            pass
        found = next((names[c] for c in candidates(name) if names.get(c)), None)
        if found is not None:  # unknown names come from outside: remembering them would be a leak
            names[name] = found
        return found

    def of_kind(self, *kinds: str) -> list[TypeEntry]:
        """All types of these kinds, by name."""
        return sorted((e for e in self._known.entries.values() if e.kind in kinds), key=lambda e: e.name)

    def suggest(self, name: str, kinds: Iterable[str] = (), limit: int = 1) -> list[str]:
        """The nearest known names, judged by the last parts of the name too."""
        wanted = set(kinds)
        known = [e.name for e in self._known.entries.values() if not wanted or e.kind in wanted]
        whole = name if name.startswith("io.") else SHORT + name
        near = difflib.get_close_matches(whole, known, n=limit, cutoff=0.7)
        if near:
            return near
        by_tail = {".".join(k.split(".")[-2:]).lower(): k for k in known}
        by_last = {k.rpartition(".")[2].lower(): k for k in known}
        tails = difflib.get_close_matches(".".join(whole.split(".")[-2:]).lower(), by_tail, n=limit, cutoff=0.8)
        if tails:
            return [by_tail[t] for t in tails]
        lasts = difflib.get_close_matches(whole.rpartition(".")[2].lower(), by_last, n=limit, cutoff=0.8)
        return [by_last[t] for t in lasts]


@dataclass(frozen=True)
class LoadedPlugins:
    """What third-party packages brought. A broken one is a problem, not a crash."""

    types: tuple[type[PluginType], ...] = ()
    problems: tuple[Problem, ...] = ()


def load_entry_points(found: Iterable[EntryPoint] | None = None) -> LoadedPlugins:
    """Import the types named by entry points of the group ``lanner.tasks``.

    An entry point names one class, or a module or sequence of classes. Never raises because of a plugin.
    """
    types: list[type[PluginType]] = []
    problems: list[Problem] = []
    for entry_point in entry_points(group=ENTRY_POINT_GROUP) if found is None else found:
        try:
            loaded = entry_point.load()
        except Exception as error:  # noqa: BLE001 - a plugin is foreign code: whatever it raises is its problem
            problems.append(_broken(entry_point, f"{type(error).__name__}: {error}"))
            continue
        classes = list(_classes(loaded))
        if not classes:
            problems.append(_broken(entry_point, "it names no task or trigger type"))
        types.extend(classes)
    return LoadedPlugins(tuple(types), tuple(problems))


def _classes(loaded: Any) -> Iterator[type[PluginType]]:
    if isinstance(loaded, type):
        candidates_ = [loaded]
    elif isinstance(loaded, list | tuple):
        candidates_ = list(loaded)
    else:
        candidates_ = [v for v in vars(loaded).values() if getattr(v, "__module__", None) == loaded.__name__]
    for cls in candidates_:
        if isinstance(cls, type) and issubclass(cls, PluginType) and cls.type_name:
            yield cls


def _broken(entry_point: EntryPoint, why: str) -> Problem:
    package = entry_point.dist.name if entry_point.dist is not None else entry_point.value
    return Problem(
        "plugin",
        f"plugin {entry_point.name!r} of {package} cannot be loaded: {why}",
        hint="update or remove the package; its task types are unknown until then",
    )
