"""The commands that talk to a server, against a real one in another process."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.cli.app import run
from tests.support.servers import LannerServer

Call = Callable[..., tuple[int, str, str]]
FLOW = """\
id: greet
namespace: company.team
inputs:
  - {id: name, type: STRING, defaults: world}
  - {id: file, type: FILE, required: false}
triggers:
  - {id: nightly, type: io.kestra.plugin.core.trigger.Schedule, cron: "0 3 * * *"}
tasks:
  - {id: hello, type: io.kestra.plugin.core.log.Log, message: "Hello {{ inputs.name }}"}
outputs:
  - {id: said, type: STRING, value: "Hello {{ inputs.name }}"}
"""
WAITING = """\
id: waiting
namespace: company.team
tasks:
  - {id: pause, type: io.kestra.plugin.core.flow.Pause, onResume: [{id: ok, type: BOOL}]}
  - {id: after, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.pause.onResume.ok }}"}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LannerServer]:
    with LannerServer(tmp_path_factory.mktemp("data")) as made:
        yield made


@pytest.fixture
def call(server: LannerServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("LANNER_URL", server.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(server.data / "config"))

    def made(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return made


@pytest.fixture
def deployed(call: Call, tmp_path: Path) -> Path:
    """The flows on the server, and the file of one of them."""
    path = tmp_path / "greet.yaml"
    path.write_text(FLOW)
    (tmp_path / "waiting.yaml").write_text(WAITING)
    code, _, err = call("flow", "deploy", str(tmp_path))
    assert code == 0, err
    return path


def test_a_flow_goes_to_the_server_and_comes_back(call: Call, deployed: Path) -> None:
    assert call("flow", "get", "company.team", "greet")[1] == FLOW
    assert call("flow", "diff", str(deployed))[0] == 0

    listed = json.loads(call("flow", "list", "--json", "-n", "company")[1])
    assert {flow["id"] for flow in listed} >= {"greet", "waiting"}
    assert "company.team" in call("flow", "list")[1]


def test_a_changed_flow_is_a_difference_and_then_a_revision(call: Call, deployed: Path) -> None:
    before = json.loads(call("flow", "get", "company.team", "greet", "--json")[1])["revision"]
    deployed.write_text(FLOW.replace('Hello {{ inputs.name }}"}\noutputs', 'Bye {{ inputs.name }}"}\noutputs'))

    code, out, _ = call("flow", "diff", str(deployed))
    assert code == 1
    assert re.search(r"^-.*Hello", out, re.M)
    assert re.search(r"^\+.*Bye", out, re.M)

    assert f"revision {before + 1}" in call("flow", "deploy", str(deployed))[2]


def test_a_broken_flow_is_refused_with_its_reason(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(FLOW.replace("core.log.Log", "core.log.Lgo"))

    code, out, err = call("flow", "validate", str(path))
    assert (code, err.strip()) == (1, "1 checked, 1 not accepted")
    assert "Invalid type: io.kestra.plugin.core.log.Lgo" in out

    code, _, err = call("flow", "deploy", str(path))
    assert code == 1
    assert f"{path}: " in err
    assert "Lgo" in err


def test_flows_are_exported_as_a_zip_file(call: Call, deployed: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.zip"

    assert call("flow", "export", "-o", str(target), "-n", "company.team")[0] == 0

    with zipfile.ZipFile(target) as archive:
        assert "company.team.greet.yml" in archive.namelist()


def test_a_flow_is_deleted(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "gone.yaml"
    path.write_text(FLOW.replace("id: greet", "id: gone"))
    call("flow", "deploy", str(path))

    assert call("flow", "delete", "company.team", "gone")[0] == 0

    code, _, err = call("flow", "get", "company.team", "gone")
    assert code == 1
    assert err.startswith("error: ")


def test_an_execution_is_started_and_waited_for(call: Call, deployed: Path, tmp_path: Path) -> None:
    upload = tmp_path / "data.csv"
    upload.write_text("a,b\n")

    code, out, _ = call(
        "execution",
        "run",
        "company.team",
        "greet",
        "-i",
        "name=Ada = Lovelace",
        "-f",
        f"file={upload}",
        "--wait",
        "--json",
    )

    execution = json.loads(out)
    assert code == 0
    assert execution["state"]["current"] == "SUCCESS"
    assert execution["outputs"] == {"said": "Hello Ada = Lovelace"}
    assert execution["inputs"]["file"].endswith(".csv")


def test_an_execution_is_looked_at(call: Call, deployed: Path) -> None:
    execution = json.loads(call("execution", "run", "company.team", "greet", "--wait", "--json")[1])["id"]

    assert "hello" in call("execution", "get", execution)[1]
    assert execution in call("execution", "list", "--flow", "greet")[1]
    assert "Hello world" in call("execution", "logs", execution)[1]
    assert "Hello world" in call("execution", "logs", execution, "--follow")[1]
    assert call("execution", "logs", execution, "--level", "error")[1] == ""
    assert call("execution", "eval", execution, "{{ inputs.name | upper }}")[1] == "WORLD\n"
    assert call("execution", "eval", execution, "{{ nothing }}")[0] == 1


def test_an_execution_that_pauses_is_resumed_replayed_and_killed(call: Call, deployed: Path) -> None:
    code, out, _ = call("execution", "run", "company.team", "waiting", "--wait")
    execution = out.split()[0]
    assert (code, out.split()[1]) == (1, "PAUSED")

    assert call("execution", "resume", execution, "-i", "ok=true")[0] == 0
    code, _, _ = call("execution", "resume", execution)
    assert code == 1

    replayed = call("execution", "replay", execution)[2].split()[0]
    assert replayed != execution
    assert "KILL" in call("execution", "kill", replayed)[2]


def test_inputs_that_do_not_fit_start_nothing(call: Call, deployed: Path) -> None:
    code, out, err = call("execution", "run", "company.team", "absent")

    assert (code, out) == (1, "")
    assert "error: " in err


def test_triggers_are_listed_disabled_and_filled(call: Call, deployed: Path) -> None:
    from tests.support.waiting import until

    def row() -> dict[str, object] | None:
        rows = [row["state"] for row in json.loads(call("trigger", "list", "-n", "company.team", "--json")[1])]
        return next((found for found in rows if found.get("triggerId") == "nightly"), None)

    until(row, "the trigger's row")
    assert call("trigger", "disable", "company.team", "greet", "nightly")[0] == 0
    assert row()["disabled"] is True  # type: ignore[index]
    assert call("trigger", "enable", "company.team", "greet", "nightly", "--recover", "NONE")[0] == 0
    assert row()["disabled"] is False  # type: ignore[index]
    assert "nightly" in call("trigger", "list")[1]
    assert call("trigger", "backfill", "company.team", "greet", "nightly", "--start", "2026-01-01T00:00:00Z",
                "--end", "2026-01-02T00:00:00Z")[0] == 0  # fmt: skip


def test_key_value_entries(call: Call) -> None:
    assert call("kv", "set", "company.team", "color", "blue")[0] == 0
    assert call("kv", "set", "company.team", "limits", '{"a": 1}', "--typed", "--ttl", "PT1H")[0] == 0

    assert call("kv", "get", "company.team", "color")[1] == "blue\n"
    assert json.loads(call("kv", "get", "company.team", "limits")[1]) == {"a": 1}
    assert {row["key"] for row in json.loads(call("kv", "list", "company.team", "--json")[1])} == {"color", "limits"}
    assert call("kv", "delete", "company.team", "color")[0] == 0
    assert call("kv", "delete", "company.team", "color")[0] == 1
    assert call("kv", "get", "company.team", "color")[0] == 1


def test_namespaces_are_listed(call: Call, deployed: Path) -> None:
    assert "company.team" in call("namespace", "list")[1]
    assert "company.team" in {row["id"] for row in json.loads(call("namespace", "list", "--json")[1])}


def test_an_unknown_source_is_an_error(call: Call) -> None:
    assert json.loads(call("source", "list", "--json")[1]) == []
    code, _, err = call("sync", "absent")
    assert code == 1
    assert "absent" in err


def test_names_with_control_characters_do_not_reach_the_terminal(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "ansi.yaml"
    path.write_text('id: ansi\nnamespace: company.team\ndescription: "\\e[31mred"\nlabels: {k: "\\e[2Jv"}\n'
                    'tasks:\n  - {id: a, type: io.kestra.plugin.core.log.Log, message: "\\e[31mhi"}\n')  # fmt: skip
    call("flow", "deploy", str(path))
    execution = json.loads(call("execution", "run", "company.team", "ansi", "--wait", "--json")[1])["id"]

    shown = call("flow", "list")[1] + call("execution", "logs", execution)[1] + call("execution", "get", execution)[1]

    assert "\x1b" not in shown


@pytest.mark.slow
def test_a_server_that_wants_a_login_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "lanner.yaml"
    config.write_text("auth: {admin: {username: ops@example.com, password: '${env:ADMIN_PASSWORD}'}}\n")
    password = "a long pass phrase"
    with LannerServer(
        tmp_path / "data", "--config", str(config), env={"ADMIN_PASSWORD": password}, auth="basic"
    ) as server:
        monkeypatch.setenv("LANNER_URL", server.url)
        assert run(["flow", "list"]) == 1
        assert "wants a login" in capsys.readouterr().err

        monkeypatch.setenv("LANNER_USER", "ops@example.com")
        monkeypatch.setenv("LANNER_PASSWORD", password)
        assert run(["flow", "list"]) == 0
