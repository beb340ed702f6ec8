"""What a caller submits against what a flow declares: which inputs count, their values, and all faults at once.

Pure: rendering, storing files and encrypting are passed in. The conversion of one value is in ``conversions``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from namespaces.conversions import NothingGiven, Unfit, Upload, convert
from namespaces.errors import InvalidInput, InvalidInputs, LannerError, Problem
from namespaces.expressions.failures import longer
from namespaces.flows.limits import size_text
from namespaces.flows.model import FlowOutput, Input
from namespaces.flows.reader import scalar_text
from namespaces.plugin import is_expression

__all__ = ["InputState", "Resolved", "Upload", "convert_output", "expand", "nest", "resolve_inputs"]

Render = Callable[[str, Mapping[str, Any]], str]
"""Renders a text; the map is what ``inputs`` shall be in its context. Raises ``LannerError``."""
RenderTyped = Callable[[str, Mapping[str, Any]], Any]
"""As ``Render``, but a single expression keeps its type."""
StoreFile = Callable[[str, Upload], str]
"""Stores an uploaded file of the input with that id; returns its ``kestra://`` URI."""
Encrypt = Callable[[str], Any]
"""Turns the text of a SECRET into what is stored. Raises ``LannerError`` when no key is configured."""
AcceptUri = Callable[[str], bool]
"""Whether the caller may use that ``kestra://`` file."""
VALUE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Expanded:
    """An input under its full name: the part ``region`` of the FORM ``env`` is ``env.region``."""

    name: str
    declared: Input
    depends_on: tuple[str, ...]
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InputState:
    """How one input fared, for the "validate inputs" end point. ``value`` is the stored form."""

    name: str
    declared: Input
    enabled: bool
    value: Any = None
    is_default: bool = False
    errors: tuple[str, ...] = ()
    choices: tuple[str, ...] | None = None
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class Resolved:
    """``values`` is what the execution stores (nested, secrets encrypted), ``plain`` what expressions see.

    ``problems`` is not empty exactly when nothing may be started; ``secrets`` are the full names of SECRET
    inputs, ``ignored`` the submitted keys that no input declares.
    """

    values: dict[str, Any]
    problems: tuple[Problem, ...] = ()
    details: tuple[InputState, ...] = ()
    plain: dict[str, Any] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()

    def require(self) -> dict[str, Any]:
        """The values to store. Raises ``InvalidInputs`` with every fault."""
        if self.problems:
            raise InvalidInputs((problem.path, problem.message) for problem in self.problems)
        return self.values

    @property
    def where(self) -> str:
        return self.problems[0].path if self.problems else ""


def expand(declared: Iterable[Input]) -> list[Expanded]:
    """The inputs under their full names, in order; a FORM becomes its parts, which inherit its ``dependsOn``."""
    found = []
    for one in declared:
        own = (one.condition,) if one.condition is not None else ()
        if one.type != "FORM":
            found.append(Expanded(one.id, one, one.depends_on, own))
            continue
        for part in one.properties.get("inputs", ()):
            conditions = (*own, part.condition) if part.condition is not None else own
            found.append(Expanded(f"{one.id}.{part.id}", part, (*one.depends_on, *part.depends_on), conditions))
    return found


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """``{"db.host": 1}`` as ``{"db": {"host": 1}}``."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        here = nested
        *parents, last = name.split(".")
        for parent in parents:
            below = here.get(parent)
            if not isinstance(below, dict):
                below = here[parent] = {}
            here = below
        here[last] = value
    return nested


def resolve_inputs(
    declared: Iterable[Input],
    submitted: Mapping[str, Any],
    *,
    render: Render,
    render_typed: RenderTyped,
    store_file: StoreFile | None = None,
    encrypt: Encrypt | None = None,
    accept_uri: AcceptUri | None = None,
    value_bytes: int = VALUE_BYTES,
) -> Resolved:
    """Apply ``flows.md`` 1.4 to what was submitted: text parts of a form or values of any type, flat or nested.

    Nothing is stored or encrypted twice for one call; without ``store_file`` uploads are only checked (the
    validate end point). A value that is no file has at most ``value_bytes`` (R21). Never raises because
    of what was submitted.
    """
    expanded = expand(declared)
    run = _Run(
        {one.name: one for one in expanded},
        _flat(submitted, {one.name for one in expanded}),
        render,
        render_typed,
        store_file,
        encrypt,
        accept_uri,
        value_bytes,
    )
    for one in expanded:
        run.resolve(one.name)
    details = tuple(run.states[one.name] for one in expanded)
    problems = tuple(
        Problem("invalid_input", message, f"inputs.{state.name}", limit="input_bytes" if state.too_large else "")
        for state in details
        for message in state.errors
    )
    stored = {state.name: state.value for state in details if state.enabled and not state.errors}
    return Resolved(
        values=nest(stored),
        problems=problems,
        details=details,
        plain=nest(run.plain),
        secrets=frozenset(state.name for state in details if state.enabled and state.declared.type == "SECRET"),
        ignored=tuple(key for key in run.submitted if key not in run.inputs),
    )


def _flat(submitted: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """Submitted values by full input name; JSON callers may nest ``{"db": {"host": …}}``."""
    flat: dict[str, Any] = {}
    stack = [(str(key), value) for key, value in reversed(list(submitted.items()))]
    prefixes = {name[:n] for name in names for n, letter in enumerate(name) if letter == "."}
    while stack:
        key, value = stack.pop()
        if key not in names and key in prefixes and isinstance(value, Mapping):
            stack.extend((f"{key}.{below}", item) for below, item in reversed(list(value.items())))
        else:
            flat[key] = value
    return flat


@dataclass(slots=True)
class _Run:
    inputs: dict[str, Expanded]
    submitted: dict[str, Any]
    render: Render
    render_typed: RenderTyped
    store_file: StoreFile | None
    encrypt: Encrypt | None
    accept_uri: AcceptUri | None
    value_bytes: int
    states: dict[str, InputState] = field(default_factory=dict)
    plain: dict[str, Any] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)

    def resolve(self, name: str) -> None:
        """Resolve an input after those it depends on; unknown names and cycles are left to the flow's validation."""
        if name in self.states or name in self.open:
            return
        self.open.add(name)
        one = self.inputs[name]
        for other in one.depends_on:
            if other in self.inputs:
                self.resolve(other)
        self.states[name] = self._state(one)
        self.open.discard(name)

    def _state(self, one: Expanded) -> InputState:
        try:
            if not self._enabled(one):
                return InputState(one.name, one.declared, enabled=False)
        except LannerError as error:
            reason = f"the condition of dependsOn cannot be rendered: {error.message}"
            return InputState(one.name, one.declared, enabled=True, errors=(_words(one.name, reason),))
        value, is_default, choices = None, False, None
        try:
            choices = self._choices(one.declared)
            value, is_default = self._given(one, choices)
            if _larger(value, self.value_bytes):
                reason = f"it is longer than {size_text(self.value_bytes)}: use an input of type FILE"
                told = (_words(one.name, reason),)
                return InputState(one.name, one.declared, True, None, is_default, told, choices, too_large=True)
            plain = convert(one.declared, value, choices=choices, accept_uri=self.accept_uri, is_default=is_default)
            stored = self._stored(one, plain)
        except Unfit as unfit:
            errors = tuple(_words(one.name + path, reason) for path, reason in unfit.faults)
            return InputState(one.name, one.declared, True, _shown(value), is_default, errors, choices)
        except LannerError as error:
            errors = (_words(one.name, error.message),)
            return InputState(one.name, one.declared, True, None, is_default, errors, choices)
        self.plain[one.name] = stored if one.declared.type == "FILE" else plain
        return InputState(one.name, one.declared, True, stored, is_default, (), choices)

    def _enabled(self, one: Expanded) -> bool:
        for other in one.depends_on:
            state = self.states.get(other)
            if state is not None and not state.enabled:
                return False
        context = nest(self.plain)
        return all(self._holds(condition, context) for condition in one.conditions)

    def _holds(self, condition: str, context: Mapping[str, Any]) -> bool:
        if not is_expression(condition):
            return False  # the text "true" is no boolean
        return self.render_typed(condition, context) is True

    def _choices(self, declared: Input) -> tuple[str, ...] | None:
        if declared.type not in ("SELECT", "ENUM", "MULTISELECT"):
            return None
        values = declared.properties.get("values")
        if values is not None:
            return tuple(values)
        expression = declared.properties.get("expression")
        found = self.render_typed(str(expression), nest(self.plain)) if is_expression(expression) else expression
        if isinstance(found, str):
            found = _json_list(found)
        if not isinstance(found, list | tuple):
            raise InvalidInput("`expression` must give a list")
        return tuple(scalar_text(item) for item in found if item is not None)

    def _given(self, one: Expanded, choices: tuple[str, ...] | None) -> tuple[Any, bool]:
        """The submitted value, else the rendered default."""
        declared = one.declared
        value = self.submitted.get(one.name)
        if value is not None and not (value == "" and declared.type not in _TEXT_TYPES):
            return value, False
        if declared.defaults is not None:
            return self._rendered(declared.defaults, nest(self.plain)), True
        if choices and declared.properties.get("autoSelectFirst") is True:
            return ([choices[0]] if declared.type == "MULTISELECT" else choices[0]), True
        return None, False

    def _rendered(self, value: Any, context: Mapping[str, Any]) -> Any:
        if isinstance(value, str):
            return self.render(value, context) if is_expression(value) else value
        if isinstance(value, Mapping):
            return {key: self._rendered(item, context) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._rendered(item, context) for item in value]
        return value

    def _stored(self, one: Expanded, plain: Any) -> Any:
        if isinstance(plain, Upload):
            return self.store_file(one.name, plain) if self.store_file is not None else plain.filename
        if one.declared.type == "SECRET" and plain is not None and self.encrypt is not None:
            return self.encrypt(plain)
        return plain


_TEXT_TYPES = frozenset({"STRING", "SECRET", "EMAIL", "BOOLEAN"})


def _larger(value: Any, most: int) -> bool:
    """Whether a value, as text or as JSON, has more bytes than allowed; files are bounded elsewhere."""
    if isinstance(value, str):
        return longer(value, most)
    if not isinstance(value, Mapping | list | tuple):
        return False
    left = [most]

    def fits(part: Any) -> bool:
        if isinstance(part, str):
            left[0] -= len(part) if part.isascii() else len(part.encode("utf-8", "surrogatepass"))
        elif isinstance(part, Mapping):
            left[0] -= 2
            return left[0] >= 0 and all(fits(key) and fits(item) for key, item in part.items())
        elif isinstance(part, list | tuple):
            left[0] -= 2
            return left[0] >= 0 and all(fits(item) for item in part)
        left[0] -= 2
        return left[0] >= 0

    return not fits(value)


def _json_list(text: str) -> Any:
    from namespaces.conversions import read_json

    try:
        return read_json(text)
    except ValueError:
        return None


def _words(name: str, reason: str) -> str:
    return f"Invalid value for input `{name}`. Cause: {reason}"


def _shown(value: Any) -> Any:
    return value.filename if isinstance(value, Upload) else value


def convert_output(declared: FlowOutput, rendered: Any) -> Any:
    """The value of a flow output in its declared type; a SECRET is returned in clear, for the caller to encrypt.

    ``rendered`` is the rendered value of any type. Raises ``InvalidInput``.
    """
    as_input = Input(id=declared.id, type=declared.type, required=declared.required, properties=declared.properties)
    if declared.type == "STRING" and isinstance(rendered, Mapping | list | tuple):
        from namespaces.expressions import to_text

        rendered = to_text(rendered)
    try:
        return convert(as_input, rendered, choices=None, accept_uri=None, is_default=True)
    except NothingGiven:
        raise InvalidInput(f"Invalid output for `{declared.id}`, it is required but has no value") from None
    except Unfit as unfit:
        path, reason = unfit.faults[0]
        raise InvalidInput(f"Invalid output for `{declared.id}{path}`, {reason}") from None
