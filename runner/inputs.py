"""What resolving inputs needs from the world: rendering of defaults, a place for uploaded files."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from namespaces.blobs import input_file, uri
from namespaces.errors import InvalidInput
from namespaces.flows.model import Flow, Input
from runner.context import flow_root, nested_labels
from runner.rendering import Rendering
from runner.starting import Upload

LARGEST_UPLOAD = 1024**3


class InputShell:
    """Callables for ``resolve_inputs``: one instance a request."""

    def __init__(self, rendering: Rendering, flow: Flow, execution_id: str, now: datetime, *, store: bool) -> None:
        self._rendering = rendering
        self._flow = flow
        self._execution_id = execution_id
        self._store = store
        surroundings = rendering.surroundings
        self._roots: dict[str, Any] = {
            "flow": flow_root(flow),
            "labels": nested_labels(flow.labels),
            "envs": surroundings.environment,
            "globals": surroundings.globals,
            "kestra": surroundings.kestra,
        }
        if flow.variables:
            self._roots["vars"] = flow.variables
        self._now = now
        self._ports = rendering.flow_ports(flow)

    def render(self, text: str, inputs: Mapping[str, Any]) -> str:
        """Render a default in the context of the inputs resolved so far."""
        return self._rendering.engine.render(text, {**self._roots, "inputs": inputs}, self._ports)

    def render_typed(self, text: str, inputs: Mapping[str, Any]) -> object:
        return self._rendering.engine.render_typed(text, {**self._roots, "inputs": inputs}, self._ports)

    def store_file(self, declared: Input, value: Any) -> str:
        """Keep an uploaded file and return its URI. Raises ``InvalidInput`` for an empty file and for other text."""
        if isinstance(value, Upload):
            if value.size == 0:
                raise InvalidInput("the uploaded file is empty")
            extension = declared.properties.get("extension") or _extension(value.filename)
            path = input_file(
                self._flow.namespace, self._flow.id, self._execution_id, declared.id, f"{declared.id}{extension}"
            )
            if self._store:
                self._rendering.storage.put(path, value.path, limit=LARGEST_UPLOAD)
            return uri(path)
        text = str(value)
        if text.startswith("kestra://"):
            return text
        if text.startswith("nsfile://"):
            return text
        raise InvalidInput("upload a file, or give the kestra:// URI of one")


def _extension(filename: str) -> str:
    name = filename.rsplit("/", 1)[-1]
    dot = name.rfind(".")
    return name[dot:] if dot > 0 and len(name) - dot <= 12 else ".upl"
