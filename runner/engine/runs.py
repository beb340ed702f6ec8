"""An immutable map of task runs that is cheap to change: a few layers, the newest on top. No decisions here.

Copying a dictionary at every event would make a batch over 10,000 task runs quadratic; layers that at least double
in size towards the bottom keep a change at a logarithmic cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runner.engine.values import TaskRun

_Layer = dict[str, TaskRun]


class Runs(Mapping[str, TaskRun]):
    """Task runs by id. Instances never change; ``changed`` and ``without`` give new ones."""

    __slots__ = ("_layers",)

    def __init__(self, *layers: _Layer) -> None:
        self._layers = layers

    @classmethod
    def of(cls, runs: Mapping[str, TaskRun]) -> Runs:
        return runs if isinstance(runs, Runs) else cls(dict(runs))

    def __getitem__(self, run_id: str) -> TaskRun:
        for layer in reversed(self._layers):
            if run_id in layer:
                return layer[run_id]
        raise KeyError(run_id)

    def __contains__(self, run_id: object) -> bool:
        return any(run_id in layer for layer in self._layers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._merged())

    def __len__(self) -> int:
        return len(self._merged())

    def __repr__(self) -> str:
        return f"Runs({self._merged()!r})"

    def changed(self, new: _Layer) -> Runs:
        """These runs with some added or replaced; ``new`` must not be changed afterwards."""
        if not new:
            return self
        layers = [*self._layers, new]
        while len(layers) > 1 and len(layers[-2]) < 2 * len(layers[-1]):
            top = layers.pop()
            layers[-1] = {**layers[-1], **top}
        return Runs(*layers)

    def without(self, gone: set[str]) -> Runs:
        if not gone:
            return self
        return Runs({run_id: run for run_id, run in self._merged().items() if run_id not in gone})

    def _merged(self) -> _Layer:
        if len(self._layers) == 1:
            return self._layers[0]
        merged: _Layer = {}
        for layer in self._layers:
            merged.update(layer)
        return merged
