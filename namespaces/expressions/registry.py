"""The table of functions, filters and tests: name, parameters, cost and documentation of each.

Implementations register themselves with the decorators below; compiler, analysis and documentation read the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from namespaces.errors import did_you_mean


class _Required:
    """Marks a parameter that must be given."""

    def __repr__(self) -> str:
        return "required"


REQUIRED: Final = _Required()
Implementation = TypeVar("Implementation", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of the language.

    ``cheap``: bounded work, may run in the server's process. ``outside``: its result is data from outside
    (expressions.md 6). ``disclosing``: refused in text from outside. ``examples``: template and printed result,
    run by a test and shown in the reference.
    """

    name: str
    call: Callable[..., object]
    parameters: tuple[tuple[str, object], ...]
    variadic: bool
    cheap: bool
    outside: bool
    disclosing: bool
    doc: str
    examples: tuple[tuple[str, str], ...]
    group: str
    legacy: bool = False


FILTERS: dict[str, Entry] = {}
FUNCTIONS: dict[str, Entry] = {}
TESTS: dict[str, Entry] = {}


def _camel(name: str) -> str:
    head, *rest = name.rstrip("_").split("_")
    return head + "".join(part.capitalize() for part in rest)


def _register(
    table: dict[str, Entry],
    skip: int,
    name: str,
    aliases: tuple[str, ...],
    options: Mapping[str, object],
) -> Callable[[Implementation], Implementation]:
    def add(call: Implementation) -> Implementation:
        code = call.__code__
        names = code.co_varnames[skip : code.co_argcount]
        given = call.__defaults__ or ()
        defaults: tuple[object, ...] = (*([REQUIRED] * (len(names) - len(given))), *given)
        spelled = options.get("names") or tuple(map(_camel, names))
        assert isinstance(spelled, tuple)
        examples = options.get("examples", ())
        assert isinstance(examples, tuple)
        for one in (name, *aliases):
            table[one] = Entry(
                one,
                call,
                tuple(zip(spelled, defaults, strict=True)),
                bool(code.co_flags & 4),
                bool(options.get("cheap", True)),
                bool(options.get("outside", False)),
                bool(options.get("disclosing", False)),
                " ".join((call.__doc__ or "").split()),
                examples if one == name else (),
                call.__module__.rsplit(".", 1)[-1],
                one != name or bool(options.get("legacy", False)),
            )
        return call

    return add


def filter_(name: str, *aliases: str, **options: object) -> Callable[[Implementation], Implementation]:
    """Registers ``call(state, value, …)``."""
    return _register(FILTERS, 2, name, aliases, options)


def function(name: str, *aliases: str, **options: object) -> Callable[[Implementation], Implementation]:
    """Registers ``call(state, …)``."""
    return _register(FUNCTIONS, 1, name, aliases, options)


def test(name: str, *aliases: str, **options: object) -> Callable[[Implementation], Implementation]:
    """Registers ``call(state, value) -> bool``."""
    return _register(TESTS, 2, name, aliases, options)


def bind(entry: Entry, what: str, positional: int, named: Iterable[str]) -> tuple[list[int | str | None], str]:
    """Where each parameter comes from: an index, a name, or None for its default; and a complaint, or ``""``."""
    names = [name for name, _ in entry.parameters]
    if entry.variadic:
        extra = list(named)
        return list(range(positional)), f"{what} takes no argument `{extra[0]}`" if extra else ""
    if positional > len(names):
        return [], f"{what} takes at most {len(names)} arguments, got {positional}"
    places: list[int | str | None] = [i if i < positional else None for i in range(len(names))]
    for name in named:
        if name not in names:
            return [], f"{what} has no argument `{name}`{did_you_mean(name, names)}"
        index = names.index(name)
        if places[index] is not None:
            return [], f"{what}: the argument `{name}` is given twice"
        places[index] = name
    for (name, default), place in zip(entry.parameters, places, strict=True):
        if place is None and default is REQUIRED:
            return [], f"{what} expects an argument `{name}`"
    return places, ""
