"""The plugin to copy: its own tests pass, and its types run in a server that finds them by entry point."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from service.cli.local import LocalInstance
from tests.support.servers import ROOT, LannerServer, clean_environment, run_lanner
from tests.support.waiting import until

PLUGIN = ROOT / "examples" / "plugin"

pytestmark = pytest.mark.slow


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """What pip would leave behind: the modules on the path, their entry points in a dist-info folder."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["lanner.tasks"]
    info = tmp_path / "site" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (info / "entry_points.txt").write_text(
        "[lanner.tasks]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
    )
    return {"PYTHONPATH": os.pathsep.join([str(ROOT), str(PLUGIN), str(info.parent)])}


def test_a_third_party_task_type_runs(installed: dict[str, str]) -> None:
    done = run_lanner("run", str(PLUGIN / "shout.yaml"), "--json", env=installed)

    assert done.returncode == 0, done.stderr
    assert '"text": "HELLO TUTORIAL HELLO TUTORIAL"' in done.stdout


def test_the_flows_of_the_plugin_are_valid_where_it_is_installed(installed: dict[str, str]) -> None:
    done = run_lanner("check", str(PLUGIN / "shout.yaml"), str(PLUGIN / "changed.yaml"), "--strict", env=installed)

    assert done.returncode == 0, done.stdout


def test_a_third_party_trigger_starts_the_flow_in_a_server(installed: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    flow = (PLUGIN / "changed.yaml").read_text().replace("/tmp/lanner-example.txt", str(file))

    with LannerServer(tmp_path / "data", env=installed) as server:
        server.call("POST", "main/flows", flow.encode(), "application/x-yaml")
        page = server.call("GET", "main/plugins/com.example.files.Changed")
        file.write_text("one")

        def ended() -> list[dict[str, Any]]:
            found = server.call("GET", "main/executions/search?namespace=tutorial")["results"]
            return [one for one in found if one["state"]["current"] == "SUCCESS"]

        until(lambda: bool(ended()), "an execution of the trigger", 30)
        (execution,) = ended()[:1]

    assert execution["trigger"]["variables"]["size"] == 3
    assert page["schema"]["properties"]["properties"]["path"]["description"] == "Path of the file on the server."
    assert "com.example.files.Changed" in page["markdown"]


def test_the_plugins_own_tests_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", str(PLUGIN / "tests")],
        env=clean_environment() | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(PLUGIN)])},
        capture_output=True, text=True, check=False, cwd=PLUGIN,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_plugin_that_cannot_be_loaded_is_told_and_the_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    info = tmp_path / "broken_plugin-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0.0\n")
    (info / "entry_points.txt").write_text("[lanner.tasks]\nbroken = no_such_module:Thing\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    with LocalInstance():
        pass

    assert "plugin 'broken' of broken-plugin cannot be loaded: ModuleNotFoundError" in caplog.text
