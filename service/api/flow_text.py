"""Small edits of a flow's text that keep everything else byte for byte: switch it off, move it to a namespace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_DISABLED = re.compile(r"^disabled[ \t]*:[^\n]*$", re.MULTILINE)
_NAMESPACE = re.compile(r"^namespace[ \t]*:[^\n]*$", re.MULTILINE)
_FIRST = re.compile(r"^(?:id|namespace)[ \t]*:[^\n]*$", re.MULTILINE)


def with_disabled(text: str, written: Mapping[str, Any], disabled: bool) -> str:
    """The text with ``disabled`` at the top level set, or removed when it is not wanted."""
    if not disabled:
        return _removed(text, written)
    if _DISABLED.search(text):
        return _DISABLED.sub("disabled: true", text, count=1)
    after = list(_FIRST.finditer(text))
    if after:
        place = after[-1].end()
        return f"{text[:place]}\ndisabled: true{text[place:]}"
    return _dumped({**written, "disabled": True})


def _removed(text: str, written: Mapping[str, Any]) -> str:
    found = _DISABLED.search(text)
    if found:
        return text[: found.start()] + text[found.end() :].removeprefix("\n")
    if written.get("disabled"):
        return _dumped({key: value for key, value in written.items() if key != "disabled"})
    return text


def with_namespace(text: str, written: Mapping[str, Any], namespace: str) -> str:
    """The text moved to another namespace."""
    if _NAMESPACE.search(text):
        return _NAMESPACE.sub(f"namespace: {namespace}", text, count=1)
    return _dumped({**written, "namespace": namespace})


def _dumped(written: Mapping[str, Any]) -> str:
    """Written anew: only for texts in flow style (``{id: …}``), where no line can be edited."""
    import yaml

    return str(yaml.safe_dump(dict(written), sort_keys=False, allow_unicode=True))
