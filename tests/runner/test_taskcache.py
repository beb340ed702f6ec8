"""``taskCache`` (``flows.md`` 2.6) on a whole instance, both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from namespaces.blobs import MemoryStorage, path_of
from namespaces.store.db import Database
from runner import taskcache
from tests.support.instances import Instance

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def script(cache: str, lines: str) -> str:
    return f"""
        inputs: [{{id: n, type: STRING, defaults: a}}, {{id: token, type: SECRET, defaults: open-sesame}}]
        tasks:
          - id: t
            type: io.kestra.plugin.scripts.shell.Commands
            taskRunner: {{type: io.kestra.plugin.core.runner.Process}}
            taskCache: {cache}
            env: {{N: "{{{{ inputs.n }}}}", TOKEN: "{{{{ inputs.token }}}}"}}
            outputFiles: ["*.txt"]
            commands:
              - {lines}
    """


COUNTED = """'echo "::{\\"outputs\\":{\\"n\\":\\"$(date +%s%N)\\"}}::"; date +%s%N > a.txt'"""


def vars_of(execution: dict[str, Any]) -> Any:
    return execution["taskRunList"][0]["outputs"]["vars"]["n"]


def test_the_same_properties_give_the_kept_outputs_and_others_do_not(instance: Instance) -> None:
    instance.deploy("f", script("{enabled: true}", COUNTED))

    first, again, other = instance.run("f"), instance.run("f"), instance.run("f", inputs={"n": "b"})

    assert vars_of(again) == vars_of(first) != vars_of(other)
    assert again["state"]["current"] == "SUCCESS"
    assert again["taskRunList"][0]["outputs"]["outputFiles"] == first["taskRunList"][0]["outputs"]["outputFiles"]
    assert "Hit cache for task t" in instance.logs(again["id"])
    assert "Hit cache for task t" not in instance.logs(other["id"])


def test_a_kept_output_whose_file_is_gone_is_not_used(instance: Instance) -> None:
    instance.deploy("f", script("{enabled: true}", COUNTED))
    first = instance.run("f")

    [file] = first["taskRunList"][0]["outputs"]["outputFiles"].values()
    instance.executions.rendering.storage.delete(path_of(file))

    assert vars_of(instance.run("f")) != vars_of(first)


def test_disabled_or_failed_is_not_kept(instance: Instance) -> None:
    instance.deploy("f", script("{enabled: false}", COUNTED))
    instance.deploy("g", script("{enabled: true}", "exit 3"))

    assert vars_of(instance.run("f")) != vars_of(instance.run("f"))
    assert {instance.run("g")["state"]["current"] for _ in range(2)} == {"FAILED"}
    kept = instance.database.read(lambda c: c.execute(sa.select(taskcache.cache_table)).all())
    assert kept == []


def test_secrets_are_sealed_in_the_cache_and_masked_after_a_hit(instance: Instance) -> None:
    instance.deploy("f", script("{enabled: true}", """'echo "::{\\"outputs\\":{\\"n\\":\\"$TOKEN\\"}}::"'"""))

    instance.run("f")
    again = instance.run("f")

    row = instance.database.read(lambda c: c.execute(sa.select(taskcache.cache_table)).one())
    assert "open-sesame" not in repr(row)
    assert vars_of(again) == "********"


def test_tasks_that_are_usually_run_inline_are_cached_as_well(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEach
            values: [a, b, a]
            tasks:
              - {id: t, type: io.kestra.plugin.core.debug.Return, format: x, taskCache: {enabled: true, ttl: PT1H}}
        """,
    )

    first, again = instance.run("f"), instance.run("f")

    assert [run["outputs"]["value"] for run in again["taskRunList"][1:]] == ["x", "x"]
    assert [log for log in instance.logs(first["id"]) if "Hit" in log] == []
    assert len([log for log in instance.logs(again["id"]) if "Hit" in log]) == 2


def keep(database: Database, storage: MemoryStorage, key: str, second: int, **more: Any) -> None:
    at = NOON + timedelta(seconds=second)
    wanted: dict[str, Any] = {"outputs": {"n": key}, "ttl": None, "row_bytes": 1000, "most": 10, **more}
    taskcache.keep(database, storage, key, ("a", "f", "t"), wanted.pop("outputs"), now=at, **wanted)


def test_what_is_older_than_its_ttl_is_not_found_and_deleted_later(database: Database) -> None:
    storage = MemoryStorage()
    keep(database, storage, "short", 0, ttl=timedelta(seconds=60), outputs={"n": "x" * 2000})
    keep(database, storage, "long", 0)

    def find(key: str, second: int) -> Any:
        return taskcache.find(database, storage, key, NOON + timedelta(seconds=second))

    assert (find("short", 59), find("short", 60), find("long", 99)) == ({"n": "x" * 2000}, None, {"n": "long"})
    assert len(storage.list("/a/f/t/task-cache")) == 1
    assert taskcache.forget_expired(database, storage, NOON + timedelta(seconds=60), 10) == 1
    assert storage.list("/a/f/t/task-cache") == []
    assert find("long", 99) == {"n": "long"}


def test_of_one_task_only_the_newest_are_kept(database: Database) -> None:
    storage = MemoryStorage()
    for number in range(4):
        keep(database, storage, f"k{number}", number, most=2)

    found = [taskcache.find(database, storage, f"k{number}", NOON) is not None for number in range(4)]

    assert found == [False, False, True, True]
