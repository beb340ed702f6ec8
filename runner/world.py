"""What core task types may do outside of their own run: KV, files, other executions, logs. Rights are checked here.

One ``FlowWorld`` acts for one claim; writing to a foreign namespace needs the same owning source or an ancestor
(``gitops.md`` 2.12).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import files, kv
from namespaces.blobs import Storage, execution_folder, path_of
from namespaces.errors import Forbidden, InvalidInput, NotFound
from namespaces.flows.moments import read_instant
from namespaces.revisions import namespace_table, revision_table
from namespaces.secrets import lineage
from runner import access, batches
from runner.executions import Executions
from runner.logs import LEVELS, NAMES
from runner.purging import delete_revisions
from runner.rows import execution_table, run_table
from runner.view import iterations_below
from runner.worker.reporter import Claim
from runner.writing import log_table, metric_table

BATCH = 500
Toggle = Callable[[str, str, str, bool], None]


def _count_deleted(delete: sa.Delete, tx: Connection) -> int:
    return tx.execute(delete).rowcount


def _next_executions(connection: Connection, *, conditions: list[Any], last: str) -> list[Any]:
    columns = (execution_table.c.id, execution_table.c.namespace, execution_table.c.flow_id)
    query = sa.select(*columns).where(*conditions, execution_table.c.id > last)
    return list(connection.execute(query.order_by(execution_table.c.id).limit(BATCH)).all())


class FlowWorld:
    def __init__(self, executions: Executions, toggle: Toggle, claim: Claim) -> None:
        self._executions = executions
        self._database = executions.database
        self._storage: Storage = executions.rendering.storage
        self._toggle = toggle
        self._namespace = claim.flow.namespace
        self._execution_id = str(claim.execution["id"])
        self._generation = claim.generation

    @property
    def _now(self) -> datetime:
        return self._executions.clock.now()

    def _may_write(self, namespace: str) -> None:
        """Raise ``Forbidden`` for a namespace that another source owns and that is no ancestor."""
        if namespace == self._namespace or namespace in lineage(self._namespace):
            return

        def owners(connection: Connection) -> dict[str, str | None]:
            rows = connection.execute(
                sa.select(namespace_table.c.name, namespace_table.c.source).where(
                    namespace_table.c.name.in_({namespace, self._namespace})
                )
            )
            return {row.name: row.source for row in rows}

        known = self._database.read(owners)
        if known.get(namespace) != known.get(self._namespace):
            raise Forbidden(
                f"the namespace '{namespace}' belongs to another source than '{self._namespace}'",
                code="foreign_namespace",
                hint="let its owner list this namespace under allowed_callers",
            )

    # ------------------------------------------------------------------ key-value pairs

    def kv_get(self, namespace: str, key: str) -> Any | None:
        found = self._database.read(lambda c: kv.get(c, namespace, key, now=self._now))
        return None if found is None else found.value

    def kv_set(
        self,
        namespace: str,
        key: str,
        value: Any,
        *,
        type_: str | None,
        overwrite: bool,
        ttl_s: float | None,
        description: str | None,
    ) -> None:
        self._may_write(namespace)
        ttl = timedelta(seconds=ttl_s) if ttl_s is not None else None
        self._database.write(
            lambda tx: kv.put(
                tx,
                namespace,
                key,
                value,
                type_=type_,
                overwrite=overwrite,
                ttl=ttl,
                description=description,
                now=self._now,
            )
        )

    def kv_delete(self, namespace: str, key: str) -> bool:
        self._may_write(namespace)
        return self._database.write(lambda tx: kv.delete(tx, namespace, key, now=self._now))

    def kv_keys(self, namespace: str, prefix: str | None) -> list[str]:
        return self._database.read(lambda c: kv.keys(c, namespace, prefix=prefix, now=self._now))

    def kv_purge(self, filters: Mapping[str, Any]) -> int:
        """``filters``: namespaces, namespacePattern, keyPattern, includeChildNamespaces, type, expiredOnly, before,
        keepAmount. Without namespaces: the flow's own.
        """
        named = filters.get("namespaces") or ([] if filters.get("namespacePattern") else [self._namespace])
        for namespace in named:
            self._may_write(namespace)

        def chosen(namespace: str, key: str) -> bool:
            below = filters.get("includeChildNamespaces", True) and any(namespace.startswith(f"{n}.") for n in named)
            pattern = filters.get("namespacePattern")
            wanted = namespace in named or below or (pattern and fnmatchcase(namespace, pattern))
            if not wanted or not fnmatchcase(key, filters.get("keyPattern") or "*"):
                return False
            self._may_write(namespace)
            return True

        if filters.get("type") == "version":
            before = _instant(filters, "before")
            keep = filters.get("keepAmount")
            return self._database.write(lambda tx: kv.purge_versions(tx, chosen, before=before, keep=keep))
        expired_only = bool(filters.get("expiredOnly", True))
        return self._database.write(lambda tx: kv.purge_keys(tx, chosen, expired_only=expired_only, now=self._now))

    # ------------------------------------------------------------------ files

    def may_read(self, uri: str) -> bool:
        return self._database.read(lambda c: access.may_read(c, path_of(uri), self._namespace, self._execution_id))

    def _readable(self, uri: str) -> str:
        if not self.may_read(uri):
            raise access.refuse(uri)
        return path_of(uri)

    def file_exists(self, uri: str) -> bool:
        return self._storage.exists(self._readable(uri))

    def file_size(self, uri: str) -> int:
        return self._storage.size(self._readable(uri))

    def file_delete(self, uri: str) -> bool:
        return self._storage.delete(self._readable(uri))

    def state_read(self, path: str) -> dict[str, Any] | None:
        try:
            with self._storage.open(path) as file:
                found = orjson.loads(file.read())
        except NotFound:
            return None
        return found if isinstance(found, dict) else None

    def state_write(self, path: str, data: Mapping[str, Any] | None) -> None:
        if data is None:
            self._storage.delete(path)
        else:
            self._storage.put(path, orjson.dumps(dict(data)))

    def namespace_files(self, namespace: str) -> list[str]:
        at = self._generation if namespace == self._namespace else None
        return self._database.read(lambda c: files.paths(c, namespace, generation=at))

    def namespace_file_read(self, namespace: str, path: str) -> bytes:
        at = self._generation if namespace == self._namespace else None
        found = self._database.read(lambda c: files.read(c, namespace, path, generation=at))
        if found is None:
            raise NotFound(f"the file '{path}' does not exist in the namespace '{namespace}'")
        return found

    def namespace_file_write(self, namespace: str, path: str, content: bytes) -> None:
        self._may_write(namespace)
        self._database.write(lambda tx: files.write(tx, namespace, path, content, now=self._now))

    def namespace_file_delete(self, namespace: str, path: str) -> None:
        self._may_write(namespace)
        self._database.write(lambda tx: files.delete(tx, namespace, path, now=self._now))

    # ------------------------------------------------------------------ executions

    def _namespace_of(self, execution_id: str, namespace: str | None = None, flow_id: str | None = None) -> str:
        """Of an execution, which has to be of this namespace and flow where they are given. Raises ``NotFound``."""
        columns = (execution_table.c.namespace, execution_table.c.flow_id)
        query = sa.select(*columns).where(execution_table.c.id == execution_id)
        row = self._database.read(lambda c: c.execute(query).one_or_none())
        if row is None:
            raise NotFound(f"execution '{execution_id}' does not exist")
        for name, given, actual in (("namespace", namespace, row.namespace), ("flow", flow_id, row.flow_id)):
            if given and given != actual:
                raise NotFound(f"execution '{execution_id}' is of the {name} '{actual}', not '{given}'")
        return str(row.namespace)

    def resume_execution(
        self, execution_id: str, inputs: Mapping[str, Any], *, namespace: str | None, flow_id: str | None
    ) -> None:
        self._may_write(self._namespace_of(execution_id, namespace, flow_id))
        self._executions.resume(execution_id, inputs=inputs)

    def kill_execution(self, execution_id: str, cascade: bool) -> None:
        self._may_write(self._namespace_of(execution_id))
        self._executions.kill(execution_id, cascade=cascade)

    def toggle_trigger(self, namespace: str, flow_id: str, trigger_id: str, enabled: bool) -> None:
        self._may_write(namespace)
        self._toggle(namespace, flow_id, trigger_id, enabled)

    # ------------------------------------------------------------------ logs and maintenance

    def log_rows(
        self,
        execution_id: str,
        task_ids: list[str] | None,
        level: str,
        *,
        namespace: str | None,
        flow_id: str | None,
    ) -> list[dict[str, Any]]:
        """Raises ``Forbidden`` for an execution of another source's namespace that has nothing to do with this one."""
        owner = self._namespace_of(execution_id, namespace, flow_id)
        if not self._database.read(lambda c: access.are_related(c, execution_id, self._execution_id)):
            self._may_write(owner)
        query = (
            sa.select(log_table)
            .where(log_table.c.execution_id == execution_id, log_table.c.level >= LEVELS[level])
            .order_by(log_table.c.id)
        )
        if task_ids:
            query = query.where(log_table.c.task_id.in_(task_ids))
        rows = self._database.read(lambda c: c.execute(query).all())
        return [
            {
                "namespace": row.namespace,
                "flowId": row.flow_id,
                "executionId": row.execution_id,
                "taskId": row.task_id,
                "taskRunId": row.task_run_id,
                "attemptNumber": row.attempt,
                "timestamp": row.at.isoformat(),
                "level": NAMES[row.level],
                "message": row.message,
            }
            for row in rows
        ]

    def purge_logs(self, filters: Mapping[str, Any]) -> int:
        """Delete log lines in small steps. Raises ``Forbidden`` when some are of a namespace that is not ours to clear.

        ``filters``: namespace, flowId, executionId, logLevels, startDate, endDate.
        """
        conditions = self._scope(log_table, filters, log_table.c.at)
        if filters.get("executionId"):
            conditions.append(log_table.c.execution_id == filters["executionId"])
        if filters.get("logLevels"):
            conditions.append(log_table.c.level.in_([LEVELS[level] for level in filters["logLevels"]]))
        conditions.append(self._writable(log_table, conditions))
        total = 0
        while True:
            ids = sa.select(log_table.c.id).where(*conditions).limit(BATCH).scalar_subquery()
            delete = sa.delete(log_table).where(log_table.c.id.in_(ids))
            gone = self._database.write(partial(_count_deleted, delete))
            total += gone
            if gone < BATCH:
                return total

    def purge_executions(self, filters: Mapping[str, Any]) -> dict[str, int]:
        """Remove terminal executions with what belongs to them; how many ``executions, logs, metrics, storages``.

        Raises ``Forbidden`` as for logs. ``filters``: as there, with states, purgeExecution, purgeLog, purgeMetric,
        purgeStorage.
        """
        conditions = self._scope(execution_table, filters, execution_table.c.created_at)
        # Iterations of a Loop go with the execution they belong to, never before.
        conditions += [execution_table.c.finished.is_(True), execution_table.c.kind != "LOOP"]
        conditions.append(execution_table.c.id != self._execution_id)
        if filters.get("states"):
            conditions.append(execution_table.c.state.in_(filters["states"]))
        conditions.append(self._writable(execution_table, conditions))
        whole = bool(filters.get("purgeExecution", True))
        wanted = {"logs": "purgeLog", "metrics": "purgeMetric", "storages": "purgeStorage"}
        kinds = {kind: bool(filters.get(name, True)) for kind, name in wanted.items()}
        counts = dict.fromkeys(("executions", *wanted), 0)
        last = ""
        while True:
            found = self._database.read(partial(_next_executions, conditions=conditions, last=last))
            if not found:
                return counts
            last = found[-1].id
            for row in found:
                for one in [row.id, *self._database.read(partial(iterations_below, execution_id=row.id))]:
                    folder = execution_folder(row.namespace, row.flow_id, one)
                    counts["logs"] += self._emptied(log_table, one) if kinds["logs"] else 0
                    counts["metrics"] += self._emptied(metric_table, one) if kinds["metrics"] else 0
                    counts["storages"] += len(self._storage.delete_prefix(folder)) if kinds["storages"] else 0
                if whole:
                    self._executions.delete(
                        row.id, logs=kinds["logs"], metrics=kinds["metrics"], storage=kinds["storages"]
                    )
                    counts["executions"] += 1

    def purge_flows(self, filters: Mapping[str, Any]) -> int:
        """Delete old revisions of flows that nobody needs; how many. ``filters``: namespace, flowId."""
        conditions = self._scope(revision_table, {"namespace": self._namespace, **filters}, None)
        conditions.append(self._writable(revision_table, conditions))
        return self._database.write(lambda tx: delete_revisions(tx, conditions))

    def _emptied(self, table: sa.Table, execution_id: str) -> int:
        """Delete an execution's rows of a table and say how many there were."""
        delete = sa.delete(table).where(table.c.execution_id == execution_id)
        return self._database.write(partial(_count_deleted, delete))

    def _writable(self, table: Any, conditions: list[Any]) -> sa.ColumnElement[bool]:
        """The condition that rows are of namespaces found now. Raises ``Forbidden`` when one is not ours to write."""
        distinct = sa.select(table.c.namespace).where(*conditions).distinct()
        found = sorted(self._database.read(lambda c: list(c.execute(distinct).scalars())))
        for namespace in found:
            self._may_write(namespace)
        condition: sa.ColumnElement[bool] = table.c.namespace.in_(found)
        return condition

    def _scope(self, table: Any, filters: Mapping[str, Any], moment: Any) -> list[Any]:
        namespace, flow_id = filters.get("namespace"), filters.get("flowId")
        conditions: list[Any] = []
        if flow_id:
            conditions += [table.c.namespace == (namespace or self._namespace), table.c.flow_id == flow_id]
        elif namespace:
            prefix = str(namespace).replace("%", r"\%").replace("_", r"\_")
            conditions.append(
                sa.or_(table.c.namespace == namespace, table.c.namespace.like(f"{prefix}.%", escape="\\"))
            )
        return [*conditions, *_between(filters, moment)]

    def batch_outputs(self, parent_run_id: str, task_id: str) -> list[Any]:
        mine = sa.select(run_table.c.id).where(run_table.c.parent_id == parent_run_id, run_table.c.task_id == task_id)

        def read(connection: Connection) -> list[Any]:
            run_id = connection.execute(mine).scalar()
            return list(batches.outputs(connection, run_id)) if run_id is not None else []

        return self._database.read(read)

    def count_executions(self, filters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """``{namespace, flowId, count}`` per flow; ``filters``: flows, namespaces, states, startDate, endDate."""
        wanted = filters.get("flows") or []
        conditions: list[Any] = [execution_table.c.kind != "LOOP"]
        if filters.get("states"):
            conditions.append(execution_table.c.state.in_(filters["states"]))
        conditions += _between(filters, execution_table.c.created_at)
        if filters.get("namespaces"):
            conditions.append(execution_table.c.namespace.in_(filters["namespaces"]))
        if wanted:
            conditions.append(
                sa.or_(
                    *(
                        sa.and_(
                            execution_table.c.namespace == flow["namespace"],
                            execution_table.c.flow_id == flow["flowId"],
                        )
                        for flow in wanted
                    )
                )
            )
        query = (
            sa.select(execution_table.c.namespace, execution_table.c.flow_id, sa.func.count().label("runs"))
            .where(*conditions)
            .group_by(execution_table.c.namespace, execution_table.c.flow_id)
        )
        rows = self._database.read(lambda c: c.execute(query).all())
        counts = {(row.namespace, row.flow_id): int(row.runs) for row in rows}
        for flow in wanted:
            counts.setdefault((flow["namespace"], flow["flowId"]), 0)
        return [{"namespace": ns, "flowId": flow_id, "count": count} for (ns, flow_id), count in counts.items()]


def _between(filters: Mapping[str, Any], moment: Any) -> list[Any]:
    """``startDate`` and ``endDate`` as tasks render them: text with a zone. Raises ``InvalidInput``."""
    conditions: list[Any] = []
    for name in ("startDate", "endDate"):
        read = _instant(filters, name)
        if read is not None:
            conditions.append(moment >= read if name == "startDate" else moment <= read)
    return conditions


def _instant(filters: Mapping[str, Any], name: str) -> datetime | None:
    written = filters.get(name)
    if written is None or written == "":
        return None
    try:
        return read_instant(written)
    except ValueError as error:
        raise InvalidInput(f"{name}: {error}") from error
