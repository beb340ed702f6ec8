"""Reads `lanner.yaml` and the environment into `Settings`, and says what is wrong with file and line.

Order: options of the command line, then `LANNER_<SECTION>__<KEY>`, then the file, then the defaults.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from namespaces.errors import ConfigurationError, did_you_mean
from service.settings.future import NOT_YET
from service.settings.model import Settings
from service.settings.values import Credential, parse_duration

PREFIX = "LANNER_"
DEFAULT_FILE = "lanner.yaml"
Path_ = tuple[str | int, ...]
# Not settings: the client's address and credentials, test switches, secrets, and what scripts get.
_OTHER = re.compile(
    r"LANNER_(URL|TOKEN|USER|PASSWORD|CONTEXT|CONFIG|HOME|SECRET_[^_].*|TEST_.*|CI|CRASH.*|GIT_[^_].*|"
    r"IDEMPOTENCY_KEY|TASKRUN_ID|ATTEMPT|EPOCH)"
)


def load_settings(
    config: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of this process.

    ``config`` is the file (default: ``LANNER_CONFIG``, else ``lanner.yaml`` of the working folder if there is one);
    ``overrides`` maps dotted names to values of the command line, None is skipped. Raises ``ConfigurationError``
    with every problem, one a line.
    """
    environ = os.environ if environ is None else environ
    path = _config_path(config, environ)
    data, lines = _read_file(path) if path else ({}, {})
    origins: dict[Path_, str] = {}
    problems: list[str] = []
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX) and not _OTHER.fullmatch(name):
            keys = tuple(part.lower() for part in name[len(PREFIX) :].split("__"))
            known = _find(keys)
            if known is None:
                if "__" in name or keys[0] in Settings.model_fields:
                    problems.append(f"{name} is no setting{_suggestion(keys)}")
                continue
            _put(data, keys, _from_text(value, known, name))
            origins[keys] = name
    for dotted, value in (overrides or {}).items():
        if value is not None:
            keys = tuple(dotted.split("."))
            _put(data, keys, value)
            origins[keys] = "--" + keys[-1].replace("_", "-")
    if problems:
        raise ConfigurationError("\n".join(problems), hint="see docs/reference/settings.md")
    try:
        settings = Settings.model_validate(data, context={"environ": environ})
    except ValidationError as error:
        listed = [_sentence(detail, path, lines, origins) for detail in error.errors(include_url=False)]
        raise ConfigurationError("\n".join(dict.fromkeys(listed)), hint="see docs/reference/settings.md") from None
    early = [
        f"{_place(keys, path, lines, origins)} {_dotted(keys)} has no effect in this release".strip()
        for keys in _changed(settings, NOT_YET, data)
    ]
    if early:
        raise ConfigurationError("\n".join(early), hint="remove it, so that nobody relies on it")
    return settings


def _changed(settings: Settings, names: Iterable[str], data: Mapping[Any, Any]) -> Iterator[tuple[str, ...]]:
    """Those of the settings that were given another value than their default."""
    for name in sorted(names):
        keys = tuple(name.split("."))
        given: Any = data
        value: Any = settings
        default: Any = None
        for key in keys:
            given = given.get(key) if isinstance(given, Mapping) else None
            field = type(value).model_fields.get(key) if isinstance(value, BaseModel) else None
            default = field.get_default(call_default_factory=True, validated_data={}) if field is not None else None
            value = getattr(value, key, None)
        if given is not None and value != default and _default_text(default) != _default_text(value):
            yield keys


def _default_text(value: Any) -> str:
    """Durations have their default as text."""
    try:
        return str(parse_duration(value))
    except ValueError:
        return str(value)


def _config_path(config: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    named = config or environ.get("LANNER_CONFIG")
    if named:
        return Path(named)
    default = Path(DEFAULT_FILE)
    return default if default.is_file() else None


def _read_file(path: Path) -> tuple[dict[Any, Any], dict[Path_, int]]:
    """The mapping in the file and the line of each key. Raises ``ConfigurationError``."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {(error.strerror or 'error').lower()}") from error
    try:
        node = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path.name}:{mark.line + 1}" if mark else path.name
        raise ConfigurationError(f"{place} {getattr(error, 'problem', None) or 'is not YAML'}") from error
    except (RecursionError, ValueError) as error:
        raise ConfigurationError(f"{path.name} is not YAML that can be read") from error
    lines: dict[Path_, int] = {}
    value = _construct(node, (), lines, path) if node is not None else {}
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path.name}:1 must be a mapping of sections")
    return value, lines


def _construct(node: Any, at: Path_, lines: dict[Path_, int], path: Path, depth: int = 0) -> Any:
    """Plain values of a YAML node; scalars by the core schema of YAML 1.2, so that `on` and `12:30` stay text."""
    import yaml

    if depth > 32:
        raise ConfigurationError(f"{path.name}:{node.start_mark.line + 1} is nested too deeply")
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            where = (*at, key)
            if key in result:
                raise ConfigurationError(f"{path.name}:{key_node.start_mark.line + 1} {_dotted(where)} is given twice")
            lines[where] = key_node.start_mark.line + 1
            result[key] = _construct(value_node, where, lines, path, depth + 1)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*at, i), lines, path, depth + 1) for i, item in enumerate(node.value)]
    # The plain style is None in Python and an empty text in libyaml.
    return node.value if node.style else _scalar(node.value)


def _scalar(text: str) -> Any:
    if text in {"", "~", "null", "Null", "NULL"}:
        return None
    if text in {"true", "True", "TRUE"}:
        return True
    if text in {"false", "False", "FALSE"}:
        return False
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    if re.fullmatch(r"[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?", text):
        return float(text)
    return text


def _put(data: dict[Any, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = data.get(key)
        if not isinstance(inner, dict):
            inner = {}
        # Copied, because an override must not reach into a value that something else holds.
        data[key] = dict(inner)
        data = data[key]
    data[keys[-1]] = value


def _find(keys: Sequence[str]) -> Any:
    """The annotation of a setting, or None when there is no such setting."""
    model: type[BaseModel] = Settings
    for position, key in enumerate(keys):
        field = model.model_fields.get(key)
        if field is None:
            return None
        if position == len(keys) - 1:
            return field
        inner = _section(field.annotation)
        if inner is None:
            return None
        model = inner
    return None


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as ``Server`` or ``Oidc | None``; lists are no sections."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _from_text(text: str, field: Any, name: str) -> Any:
    """A variable's value: JSON for lists and maps (or comma-separated words), plain scalars otherwise."""
    annotation = field.annotation
    if Credential in (annotation, *get_args(annotation)):
        return Credential.given(text, "${env:" + name + "}") if not text.startswith("${") else text
    if text[:1] in "[{":
        import json

        try:
            return json.loads(text)
        except ValueError as error:
            raise ConfigurationError(f"{name} is not JSON: {error}") from error
    if getattr(annotation, "__origin__", None) is list:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text if annotation is str else _scalar(text)


def _suggestion(keys: Sequence[str]) -> str:
    names = [PREFIX + "__".join(row).upper() for row in _names(Settings)]
    return did_you_mean(PREFIX + "__".join(keys).upper(), names)


def _names(model: type[BaseModel], at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        inner = _section(field.annotation)
        found += _names(inner, (*at, name)) if inner else [(*at, name)]
    return found


def _dotted(loc: Sequence[str | int]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _sentence(detail: ErrorDetails, path: Path | None, lines: Mapping[Path_, int], origins: Mapping[Path_, str]) -> str:
    """``lanner.yaml:12 server.port must be 1–65535``."""
    loc = tuple(part for part in detail["loc"] if not (isinstance(part, str) and part.startswith("function-")))
    loc = _known_part(loc)
    place = _place(loc, path, lines, origins)
    sentence = " ".join(part for part in (_dotted(loc), _complaint(detail, loc)) if part)
    return f"{place} {sentence}" if place else sentence


def _place(loc: Path_, path: Path | None, lines: Mapping[Path_, int], origins: Mapping[Path_, str]) -> str:
    """Variable, option, or file and line that gave the value; the nearest part that is known."""
    for end in range(len(loc), -1, -1):
        if loc[:end] in origins:
            return origins[loc[:end]]
        if end and loc[:end] in lines and path is not None:
            return f"{path.name}:{lines[loc[:end]]}"
    return path.name if path is not None else ""


def _known_part(loc: Path_) -> Path_:
    """The location without the names of union members that pydantic adds."""
    model: type[BaseModel] | None = Settings
    kept: list[str | int] = []
    for part in loc:
        if isinstance(part, int):
            kept.append(part)
            continue
        if model is None:
            continue
        kept.append(part)
        field = model.model_fields.get(part)
        model = None if field is None else _element(field.annotation)
    return tuple(kept)


def _element(annotation: Any) -> type[BaseModel] | None:
    found = _section(annotation)
    if found is None:
        for argument in get_args(annotation):
            found = found or _section(argument)
    return found


def _complaint(detail: ErrorDetails, loc: Path_) -> str:
    kind = detail["type"]
    context: Mapping[str, Any] = detail.get("ctx") or {}
    if kind == "extra_forbidden":
        model: type[BaseModel] | None = Settings
        for part in loc[:-1]:
            if isinstance(part, str) and model is not None:
                field = model.model_fields.get(part)
                model = _element(field.annotation) if field else None
        return "is not a setting" + did_you_mean(str(loc[-1]), model.model_fields if model else ())
    if kind == "missing":
        return "is missing"
    if kind in {"greater_than_equal", "less_than_equal"} and loc[-1:] and str(loc[-1]).endswith("port"):
        return "must be 1–65535"
    messages = {
        "greater_than_equal": f"must be at least {context.get('ge')}",
        "less_than_equal": f"must be at most {context.get('le')}",
        "literal_error": f"must be one of {context.get('expected')}",
        "bool_type": "must be true or false",
        "bool_parsing": "must be true or false",
        "int_type": "must be a whole number",
        "int_parsing": "must be a whole number",
        "int_from_float": "must be a whole number",
        "string_type": "must be text",
        "list_type": "must be a list",
        "dict_type": "must be a mapping",
        "model_type": "must be a mapping",
        "too_short": "must not be empty",
        "string_too_short": "must not be empty",
        "path_type": "must be a path",
        "string_pattern_mismatch": f"must match {context.get('pattern')}",
    }
    if kind in messages:
        return messages[kind]
    return str(context.get("error") or detail["msg"])
