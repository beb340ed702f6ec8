"""A flow on a process with SQLite, and on split roles with PostgreSQL and Celery: both come to the same end."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support import services
from tests.support.servers import LannerServer, lanner
from tests.support.waiting import until

ENDED = {"SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED", "RETRIED", "SKIPPED"}
BATCH = 12  # flows of one example: the instances work on them at the same time


@dataclass
class Names:
    """Ids in the order in which tasks are made, so a flow reads from top to bottom."""

    count: int = 0

    def next(self) -> str:
        self.count += 1
        return f"t{self.count}"


@st.composite
def flows(draw: Any) -> dict[str, Any]:
    """A flow of up to three levels whose end does not depend on which of two branches is faster."""
    names = Names()

    def flags() -> dict[str, Any]:
        found: dict[str, Any] = {}
        if draw(st.integers(0, 7)) == 0:
            found["runIf"] = draw(st.sampled_from(["{{ inputs.yes }}", "{{ not inputs.yes }}", "{{ nothing.here }}"]))
        if draw(st.integers(0, 5)) == 0:
            found["allowFailure"] = True
        if draw(st.integers(0, 9)) == 0:
            found["disabled"] = True
        return found

    def some(depth: int, most: int = 3) -> list[dict[str, Any]]:
        return [task(depth) for _ in range(draw(st.integers(1, most)))]

    def late(depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if draw(st.integers(0, 3)) == 0:
            found["errors"] = some(depth, 2)
        if draw(st.integers(0, 4)) == 0:
            found["finally"] = some(depth, 2)
        return found

    def task(depth: int) -> dict[str, Any]:
        kind = draw(st.sampled_from(LEAVES if depth <= 0 else LEAVES + NODES))
        head: dict[str, Any] = {"id": names.next()} | flags()
        match kind:
            case "return":
                return head | {"type": f"{CORE}.debug.Return", "format": "{{ taskrun.value ?? 'plain' }} {{ task.id }}"}
            case "values":
                return head | {"type": f"{CORE}.output.OutputValues", "values": {"n": 1, "t": "{{ inputs.yes }}"}}
            case "fail":
                return head | {"type": f"{CORE}.execution.Fail", "errorMessage": "as it should"} | retry()
            case "script":
                code = draw(st.sampled_from([0, 0, 0, 3]))
                text = f"""echo '::{{"outputs":{{"code":{code}}}}}::'; exit {code}"""
                return head | {"type": "io.kestra.plugin.scripts.shell.Script", "script": text} | retry()
            case "seq":
                return head | {"type": f"{CORE}.flow.Sequential", "tasks": some(depth - 1)} | late(depth - 1)
            case "allow":
                return head | {"type": f"{CORE}.flow.AllowFailure", "tasks": some(depth - 1)}
            case "par":
                return head | {"type": f"{CORE}.flow.Parallel", "tasks": some(depth - 1)} | late(depth - 1)
            case "if":
                yes = draw(st.sampled_from(["{{ inputs.yes }}", "{{ not inputs.yes }}"]))
                return head | {
                    "type": f"{CORE}.flow.If", "condition": yes, "then": some(depth - 1, 2), "else": some(depth - 1, 2),
                }  # fmt: skip
            case "switch":
                value = draw(st.sampled_from(["a", "b", "z"]))
                return head | {
                    "type": f"{CORE}.flow.Switch", "value": value, "defaults": some(depth - 1, 1),
                    "cases": {"a": some(depth - 1, 2), "b": some(depth - 1, 1)},
                }  # fmt: skip
            case "loop":
                values = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
                one = {
                    "type": f"{CORE}.flow.Loop",
                    "values": values,
                    "concurrencyLimit": 1,
                    "tasks": some(depth - 1, 2),
                }
                given = {
                    "outputs": [{"id": "o", "type": "STRING", "value": "{{ item.value }} {{ item.parents ?? 'none' }}"}]
                }
                return head | one | (given if draw(st.booleans()) else {}) | late(depth - 1)
            case _:
                values = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
                return head | {"type": f"{CORE}.flow.ForEach", "values": values, "tasks": some(depth - 1, 2)}

    def retry() -> dict[str, Any]:
        if draw(st.integers(0, 2)):
            return {}
        again = {"type": "constant", "interval": "PT0.1S", "maxAttempts": draw(st.integers(1, 3))}
        return {"retry": again | ({"warningOnRetry": True} if draw(st.booleans()) else {})}

    top: dict[str, Any] = {"inputs": [{"id": "yes", "type": "BOOL", "defaults": True}], "tasks": some(3, 3)} | late(1)
    if draw(st.integers(0, 3)) == 0:
        top["afterExecution"] = some(0, 2)
    return top


CORE = "io.kestra.plugin.core"
LEAVES = ["return", "return", "values", "fail", "script"]
NODES = ["seq", "par", "if", "switch", "each", "allow", "loop"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LannerServer]:
    with LannerServer(tmp_path_factory.mktemp("alone")) as server:
        yield server


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory, rabbitmq_url: str) -> Iterator[LannerServer]:
    folder = tmp_path_factory.mktemp("split")
    config = folder / "lanner.yaml"
    roles = ("--config", str(config), "--role", "web,scheduler,executor,sync")
    with services.postgres_schema() as url:
        config.write_text(
            f"data_dir: {folder / 'data'}\n"
            f"database: {{url: '{url}'}}\n"
            f"dispatch: {{kind: celery, broker_url: '{rabbitmq_url}'}}\n"
        )
        with LannerServer(folder / "data", *roles) as server:
            said = folder / "worker.log"
            with said.open("w") as output:
                worker = lanner("worker", "--config", str(config), output=output)
            try:
                yield server
            finally:
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(timeout=50) == 0, said.read_text()


def ends(server: LannerServer, batch: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """How each flow ended there, without ids and moments."""
    started = []
    for at, flow in enumerate(batch):
        text = yaml.safe_dump({"id": f"f{number}-{at}", "namespace": "same.end"} | flow, sort_keys=False)
        server.call("POST", "flows", text.encode(), "application/x-yaml")
        started.append(server.call("POST", f"executions/same.end/f{number}-{at}")["id"])
    return [plain(until(lambda one=one: ended(server, one), f"the end of {one}", 120)) for one in started]


def ended(server: LannerServer, execution_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] = server.call("GET", f"executions/{execution_id}")
    runs = found.get("taskRunList", [])
    # Tasks after the execution run when it has its state already.
    done = found["state"]["current"] in ENDED and all(run["state"]["current"] in ENDED for run in runs)
    return found if done else None


def plain(execution: dict[str, Any]) -> dict[str, Any]:
    paths = {run["id"]: run for run in execution.get("taskRunList", [])}

    def path(run: dict[str, Any]) -> list[str]:
        above = paths.get(run.get("parentTaskRunId", ""))
        return [*(path(above) if above else []), run["taskId"], str(run.get("value", ""))]

    runs = [
        {
            "path": path(run),
            "state": run["state"]["current"],
            "attempts": [attempt["state"]["current"] for attempt in run.get("attempts", [])],
            "outputs": run.get("outputs", {}),
        }
        for run in paths.values()
    ]
    for run in runs:
        run["outputs"].pop("taskRunner", None)
    return {"state": execution["state"]["current"], "runs": sorted(runs, key=lambda run: json.dumps(run["path"]))}


rounds = iter(range(1_000_000))


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.rabbitmq
@pytest.mark.timeout(600)
@settings(
    max_examples=15,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # shrinking would run hundreds of flows on two instances
)
@given(batch=st.lists(flows(), min_size=BATCH, max_size=BATCH))
def test_a_flow_ends_the_same_on_sqlite_in_process_and_on_postgresql_with_celery(
    alone: LannerServer, split: LannerServer, batch: list[dict[str, Any]]
) -> None:
    number = next(rounds)
    here = ends(alone, batch, number)
    there = ends(split, batch, number)
    for flow, one, other in zip(batch, here, there, strict=True):
        assert one == other, yaml.safe_dump(flow, sort_keys=False)
