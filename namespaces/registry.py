"""Flows as values: reads a stored revision once and keeps what it means; saves what the API sends.

Parsing is cached by (namespace, id, revision); revisions never change, so nothing is ever stale.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.engine import Connection

from namespaces import revisions
from namespaces.clock import Clock
from namespaces.errors import Conflict, InvalidFlow, InvalidInput, NotFound
from namespaces.flows.catalog import Catalog
from namespaces.flows.limits import DEFAULTS, FlowLimits
from namespaces.flows.model import Flow
from namespaces.flows.parse import Reading, read_flow
from namespaces.flows.policies import Policy
from namespaces.hits import Hits
from namespaces.store.db import Database

CACHED_FLOWS = 5_000


class Registry:
    """The one place where stored text becomes a ``Flow``."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        clock: Clock,
        *,
        plugin_defaults: Sequence[Mapping[str, Any]] = (),
        language_default: str = "auto",
        language_unmarked: int = 1,
        strict: int | None = None,
        policies: Sequence[Policy] = (),
        limits: FlowLimits = DEFAULTS,
        hits: Hits | None = None,
    ) -> None:
        self._database = database
        self.catalog = catalog
        self._clock = clock
        self._reading_options: dict[str, Any] = {
            "plugin_defaults": tuple(plugin_defaults),
            "language_default": language_default,
            "language_unmarked": language_unmarked,
            "strict": strict,
            "policies": tuple(policies),
            "limits": limits,
        }
        self._hits = hits or Hits()
        self._cache: OrderedDict[tuple[str, str, int], Flow | InvalidFlow] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, text: str | bytes, *, namespace: str | None = None, stored: bool = False) -> Reading:
        """Read a flow text with this server's defaults; never raises for bad content."""
        reading = read_flow(text, self.catalog, namespace=namespace, stored=stored, **self._reading_options)
        for problem in reading.problems:
            self._hits.note(problem.limit)
        return reading

    def parsed(self, stored: revisions.Stored) -> Flow:
        """The flow of a stored revision. Raises ``InvalidFlow`` when the text no longer reads (a plugin went away)."""
        key = (stored.namespace, stored.id, stored.revision)
        with self._lock:
            found = self._cache.get(key)
            if found is not None:
                self._cache.move_to_end(key)
        if found is None:
            reading = self.read(stored.text, namespace=stored.namespace, stored=True)
            found = self._as_stored(reading.flow, stored) if reading.flow else InvalidFlow(reading.problems)
            with self._lock:
                self._cache[key] = found
                while len(self._cache) > CACHED_FLOWS:
                    self._cache.popitem(last=False)
        if isinstance(found, InvalidFlow):
            raise found
        return found

    def cached(self, namespace: str, flow_id: str, revision: int) -> Flow | None:
        """The flow when it was read before; needs no connection."""
        with self._lock:
            found = self._cache.get((namespace, flow_id, revision))
        return found if isinstance(found, Flow) else None

    def flow(self, connection: Connection, namespace: str, flow_id: str, revision: int | None = None) -> Flow:
        """That revision, or the newest. Raises ``NotFound`` and ``InvalidFlow``."""
        if revision is not None:
            found = self.cached(namespace, flow_id, revision)
            if found is not None:
                return found
            stored = revisions.at_revision(connection, namespace, flow_id, revision)
        else:
            stored = revisions.latest(connection, namespace, flow_id)
        if stored is None:
            wanted = f" with revision {revision}" if revision is not None else ""
            raise NotFound(f"flow '{namespace}.{flow_id}'{wanted} does not exist")
        return self.parsed(stored)

    def create(self, text: str) -> revisions.Stored:
        """Save a new flow. Raises ``InvalidFlow``; an existing id is ``InvalidInput``."""
        flow = self._valid(text)

        def work(tx: Connection) -> revisions.Stored:
            revisions.lock(tx)
            if revisions.latest(tx, flow.namespace, flow.id) is not None:
                raise InvalidInput("Flow id already exists", where="flow.id", hint="use PUT to change it")
            return self._save(tx, [(flow, text)])[0]

        return self._database.write(work)

    def update(self, namespace: str, flow_id: str, text: str, *, if_match: int | None = None) -> revisions.Stored:
        """Save the next revision of an existing flow; an equal text keeps the revision.

        ``if_match`` is the revision the caller edited: another newest one is a ``Conflict``.
        """
        flow = self._valid(text)
        if flow.id != flow_id:
            raise InvalidInput(f"Illegal flow id update: '{flow_id}' to '{flow.id}'", where="flow.id")
        if flow.namespace != namespace:
            raise InvalidInput(f"Illegal namespace update: '{namespace}' to '{flow.namespace}'", where="flow.namespace")

        def work(tx: Connection) -> revisions.Stored:
            revisions.lock(tx)
            current = revisions.latest(tx, namespace, flow_id)
            if current is None:
                raise NotFound(f"flow '{namespace}.{flow_id}' does not exist")
            if if_match is not None and current.revision != if_match:
                raise Conflict(
                    f"the flow is at revision {current.revision}, the edit began at {if_match}",
                    code="revision_conflict",
                    hint="load the newest revision and apply the change to it",
                )
            return self._save(tx, [(flow, text)])[0]

        return self._database.write(work)

    def save_many(self, tx: Connection, texts: Sequence[tuple[Flow, str]]) -> list[revisions.Stored]:
        """Save several valid flows in the caller's transaction (bulk routes)."""
        return self._save(tx, texts)

    def delete(self, namespace: str, flow_id: str) -> None:
        """Write a deleted revision. Raises ``NotFound``, and ``Conflict`` for a Git-managed flow."""

        def work(tx: Connection) -> None:
            revisions.lock(tx)
            if revisions.latest(tx, namespace, flow_id) is None:
                raise NotFound(f"flow '{namespace}.{flow_id}' does not exist")
            revisions.require_api_managed(tx, namespace, flow_id)
            now = self._clock.now()
            revisions.delete(tx, [(namespace, flow_id)], now=now, generation=revisions.next_generation(tx))

        self._database.write(work)

    def _valid(self, text: str) -> Flow:
        reading = self.read(text)
        if reading.flow is None:
            raise InvalidFlow(reading.problems)
        return reading.flow

    def _save(self, tx: Connection, texts: Sequence[tuple[Flow, str]]) -> list[revisions.Stored]:
        for flow, _ in texts:
            revisions.require_api_managed(tx, flow.namespace, flow.id)
        drafts = [revisions.Draft(flow=flow, text=text) for flow, text in texts]
        revisions.save(tx, drafts, now=self._clock.now(), generation=revisions.next_generation(tx))
        stored = [revisions.latest(tx, flow.namespace, flow.id) for flow, _ in texts]
        return [found for found in stored if found is not None]

    @staticmethod
    def _as_stored(flow: Flow, stored: revisions.Stored) -> Flow:
        """The row names the flow: the text names another namespace where a source rewrites it (gitops.md 2.3)."""
        return replace(flow, namespace=stored.namespace, id=stored.id, revision=stored.revision)
