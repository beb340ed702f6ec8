"""What resolving inputs needs from the world: rendering of defaults, a place for uploaded files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from namespaces.blobs import input_file, path_of, uri
from namespaces.flows.model import Flow
from namespaces.inputs import Upload
from runner.context import flow_root, nested_labels
from runner.rendering import Rendering


class InputShell:
    """Callables for ``resolve_inputs``: one instance a request."""

    def __init__(self, rendering: Rendering, flow: Flow, execution_id: str) -> None:
        self._rendering = rendering
        self._flow = flow
        self._execution_id = execution_id
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
        self._ports = rendering.flow_ports(flow)

    def render(self, text: str, inputs: Mapping[str, Any]) -> str:
        """Render a default in the context of the inputs resolved so far."""
        return self._rendering.engine.render(text, {**self._roots, "inputs": inputs}, self._ports)

    def render_typed(self, text: str, inputs: Mapping[str, Any]) -> object:
        return self._rendering.engine.render_typed(text, {**self._roots, "inputs": inputs}, self._ports)

    def store_file(self, input_id: str, upload: Upload) -> str:
        """Keep an uploaded file and return its URI. Raises ``InvalidInput`` when it is too large."""
        name = f"{input_id}{_extension(upload.filename)}"
        path = input_file(self._flow.namespace, self._flow.id, self._execution_id, input_id, name)
        self._rendering.storage.put(path, upload.source, limit=self._rendering.limits.upload_bytes)
        return uri(path)

    def accept_uri(self, text: str) -> bool:
        """A file of another execution may be passed on by name when it is there to be read."""
        return self._rendering.storage.exists(path_of(text))


def _extension(filename: str) -> str:
    name = filename.rsplit("/", 1)[-1]
    dot = name.rfind(".")
    return name[dot:] if dot > 0 and len(name) - dot <= 12 else ".upl"
