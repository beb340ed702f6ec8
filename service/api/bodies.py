"""Flow texts in request bodies (``api.md`` 1.3): YAML kept byte for byte, or a JSON flow turned into YAML."""

from __future__ import annotations

from flask import request

from namespaces.errors import InvalidInput, TooLarge
from namespaces.flows.parse import split_documents

YAML_TYPES = frozenset({"", "application/x-yaml", "application/yaml", "text/yaml", "text/x-yaml", "text/plain"})
JSON_TYPES = frozenset({"application/json"})


class _UnsupportedMediaType(InvalidInput):
    code = "unsupported_media_type"
    status = 415


def text_body(*, limit: int | None = None) -> str:
    """The body as UTF-8 text. Raises ``InvalidInput`` for other bytes, ``TooLarge`` beyond ``limit``."""
    raw = request.get_data()
    if limit is not None and len(raw) > limit:
        raise TooLarge(f"a flow has at most {limit} bytes, this one has {len(raw)}")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"Invalid yaml: not UTF-8 at byte {error.start}", code="G002") from error


def flow_text() -> str:
    """The text of one flow. A JSON flow becomes YAML text, as the deprecated JSON routes did."""
    kind = request.mimetype
    if kind in JSON_TYPES:
        return _from_json()
    if kind not in YAML_TYPES and kind != "application/octet-stream":
        raise _UnsupportedMediaType(f"a flow is sent as application/x-yaml, not {kind}")
    return text_body()


def flow_texts() -> list[str]:
    """The documents of a bulk body, without empty ones."""
    if request.mimetype in JSON_TYPES:
        return [_from_json()]
    return split_documents(text_body())


def _from_json() -> str:
    import orjson
    import yaml

    raw = request.get_data()
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"Invalid json: {error}", code="invalid_json") from error
    if not isinstance(value, dict):
        raise InvalidInput("Invalid json: expected a flow object", code="invalid_json")
    for name in ("revision", "deleted", "draft", "updated", "tenantId", "source", "git", "exception"):
        value.pop(name, None)
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
