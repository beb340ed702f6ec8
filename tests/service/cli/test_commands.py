"""The command line as a person meets it: one-line errors, exit codes, clean output."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from namespaces.errors import ConfigurationError, Conflict, Problem, Severity
from service.cli import checking
from service.cli.app import run
from service.cli.output import clean
from service.cli.sources import add_source
from service.cli.tree import seconds
from service.settings import load_settings


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_version_needs_none_of_the_heavy_libraries() -> None:
    code = "import sys; from service.cli import main; main(['--version']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("lanner 0.")
    assert not {"typer", "pydantic", "yaml", "rich", "sqlalchemy", "flask"} & set(done.stderr.split())


def test_a_server_is_put_together_without_the_task_types_and_what_few_flows_need(tmp_path: Path) -> None:
    code = (
        "import sys, service.server\n"
        "from pathlib import Path\n"
        "from service import datafolder, processes, settings, web, wiring\n"
        "made = settings.load_settings(None, {'data_dir': Path(sys.argv[1]), 'auth.mode': 'none'}, environ={})\n"
        "datafolder.prepare(made.data_dir)\n"
        "processes.ensure_schema(made)\n"
        "lanner = wiring.build(made)\n"
        "web.create_app(lanner)\n"
        "print(*sys.modules)\n"
        "lanner.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())

    assert {"namespaces.flows.catalog", "namespaces.flows.types", "runner.executions"} <= loaded
    assert {name for name in loaded if name.startswith("namespaces.flows.types.")} <= {"namespaces.flows.types.fields"}
    assert not {name for name in loaded if name.startswith("runner.tasks.")}
    assert not {"alembic", "celery", "docker", "git", "httpx2", "argon2", "croniter", "fsspec", "rich"} & loaded


def test_the_command_tree_loads_without_the_server() -> None:
    code = "import sys; import service.cli.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not {"pydantic", "sqlalchemy", "flask", "httpx2", "celery", "git", "alembic"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["flw"], 2, "Did you mean 'flow'?"),
        (["run"], 2, "Missing argument"),
        (["flow", "list", "--nothing"], 2, "No such option"),
        (["check", "/does/not/exist"], 2, "there is no /does/not/exist"),
        (["check", ".", "--format", "pdf"], 2, "'pdf' is not one of text, json, github"),
        (["check", "--explain", "G02O"], 1, "did you mean 'G"),
        (["run", "/does/not/matter", "-i", "novalue"], 2, "not of the form id=value"),
        (["sync", "main", "--wait", "long"], 2, "--wait"),
        (["execution", "run", "a", "b", "-i", "novalue"], 2, "not of the form id=value"),
        (["serve", "--role", "webb"], 2, "did you mean 'web'?"),
    ],
)
def test_mistakes_are_one_line_with_a_hint(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    seen, out, err = call(capsys, *arguments)

    assert seen == code
    assert message in err
    assert out == ""
    assert "Traceback" not in err


def test_an_absent_server_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANNER_URL", "http://127.0.0.1:1")

    code, _, err = call(capsys, "flow", "list")

    assert code == 1
    assert err.splitlines()[0] == "error: no server answers at http://127.0.0.1:1"


def test_a_wrong_configuration_is_exit_code_78_for_servers_and_2_elsewhere(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "lanner.yaml"
    config.write_text("server:\n  port: 99999\n")

    assert call(capsys, "serve", "--config", str(config))[0] == 78
    code, _, err = call(capsys, "db", "status", "--config", str(config))
    assert code == 2
    assert err.splitlines()[0] == "error: lanner.yaml:2 server.port must be 1–65535"


def test_an_at_sign_in_an_option_is_taken_literally(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "serve", "--config", "@/etc/passwd")

    assert code == 78
    assert "@/etc/passwd cannot be read: no such file or directory" in err


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    line = f"{shlex.quote(sys.executable)} -m service --help | head -c 1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)

    assert done.stderr == ""


def test_control_characters_are_shown_not_sent() -> None:
    assert clean("a\x1b[31mred\x07\u202eb\tc") == "a\\x1b[31mred\\x07\\u202eb\tc"


def test_doctor_finds_what_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "lanner.yaml"
    config.write_text("database: {url: 'postgresql://u:topsecret@127.0.0.1:1/x'}\n")

    code, out, _ = call(capsys, "doctor", "--config", str(config), "--data", str(tmp_path), "--json")

    findings = {finding["what"]: finding for finding in json.loads(out)}
    assert code == 1
    assert findings["database"]["level"] == "fail"
    assert findings["Git"]["level"] == "ok"
    assert "topsecret" not in out


def test_a_schema_is_made_and_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call(capsys, "db", "status", "--data", str(tmp_path))[0] == 1
    assert call(capsys, "db", "upgrade", "--data", str(tmp_path))[0] == 0

    code, out, _ = call(capsys, "db", "status", "--data", str(tmp_path), "--json")

    assert code == 0
    assert json.loads(out)["state"] == "current"


class TestContexts:
    @pytest.fixture(autouse=True)
    def _home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def test_a_context_is_kept_for_its_owner_only(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert (
            call(capsys, "context", "add", "prod", "--url", "https://lanner.example.com/", "--token", "lnr_x")[0] == 0
        )

        _, out, _ = call(capsys, "context", "list", "--json")

        assert json.loads(out) == [{"current": "*", "name": "prod", "url": "https://lanner.example.com"}]
        assert (tmp_path / "lanner" / "contexts.json").stat().st_mode & 0o777 == 0o600

    def test_a_token_does_not_travel_to_another_server(self) -> None:
        from service.cli import contexts
        from service.cli.client import target

        contexts.write({"current": "prod", "contexts": {"prod": {"url": "https://a", "token": "t"}}})

        assert target({}).token == "t"
        assert target({"LANNER_URL": "https://b"}).token is None
        assert target({"LANNER_URL": "https://b", "LANNER_TOKEN": "own"}).token == "own"

    def test_an_unknown_context_is_an_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "there is no context 'x'" in call(capsys, "context", "use", "x")[2]


class TestFindings:
    problem = Problem(
        "G020", "unknown type 'x,y'\n100%", "tasks[0].type", 14, 9, "flows/a.yaml", hint="did you mean 'z'?"
    )

    def test_text(self) -> None:
        assert checking.rendered([self.problem], "text") == [
            "flows/a.yaml:14:9: error G020 unknown type 'x,y' 100% (tasks[0].type); did you mean 'z'?"
        ]

    def test_github_escapes_its_own_syntax(self) -> None:
        assert checking.rendered([self.problem], "github") == [
            "::error file=flows/a.yaml,line=14,col=9,title=G020::unknown type 'x,y'%0A100%25; did you mean 'z'?"
        ]

    def test_github_shows_fifty_and_counts_the_rest(self) -> None:
        lines = checking.rendered([self.problem] * 60, "github")

        assert len(lines) == 51
        assert "10 more" in lines[-1]

    def test_json_has_every_part(self) -> None:
        assert checking.as_json(self.problem)["line"] == 14
        assert checking.as_json(Problem("G1", "m", severity=Severity.WARNING))["severity"] == "warning"


class TestAddSource:
    entry: ClassVar[dict[str, Any]] = {
        "name": "data",
        "url": "https://git.example.com/flows.git",
        "ref": {"branch": "main"},
        "namespaces": ["a.**"],
    }

    def names(self, config: Path) -> list[str]:
        return [source.name for source in load_settings(config, environ={}).git.sources]

    @pytest.mark.parametrize(
        "text",
        [
            None,
            "",
            "server: {port: 9000}",
            "git:\n  allow_file_urls: true\n",
            "git:\n  sources: []\n  allow_file_urls: true\n",
            "git:\n  sources:\n  allow_file_urls: true\n",
            "git:\n  allow_file_urls: true\nserver:\n  port: 9000 # our port\n",
        ],
    )
    def test_the_first_source(self, tmp_path: Path, text: str | None) -> None:
        config = tmp_path / "lanner.yaml"
        if text is not None:
            config.write_text(text)

        add_source(config, self.entry)

        assert self.names(config) == ["data"]
        if text and "our port" in text:
            assert "# our port" in config.read_text()

    @pytest.mark.parametrize("indent", ["    ", "  "])
    def test_another_source_keeps_comments_and_order(self, tmp_path: Path, indent: str) -> None:
        config = tmp_path / "lanner.yaml"
        config.write_text(
            f"git:\n  sources:\n{indent}# ours\n{indent}- name: first\n{indent}  url: https://h/a.git\n"
            f"{indent}  namespaces: [a]\n\n# the rest\nserver:\n  port: 9000\n"
        )

        add_source(config, self.entry)

        assert self.names(config) == ["first", "data"]
        assert "# ours" in config.read_text()
        assert load_settings(config, environ={}).server.port == 9000

    def test_a_name_is_taken_once(self, tmp_path: Path) -> None:
        config = tmp_path / "lanner.yaml"
        add_source(config, self.entry)

        with pytest.raises(Conflict, match="has a source 'data' already"):
            add_source(config, self.entry)

    def test_a_source_that_would_not_be_valid_leaves_the_file_alone(self, tmp_path: Path) -> None:
        config = tmp_path / "lanner.yaml"
        config.write_text("server: {port: 9000}\n")

        with pytest.raises(ConfigurationError, match="file:// needs"):
            add_source(config, self.entry | {"url": "file:///srv/x"})

        assert config.read_text() == "server: {port: 9000}\n"
        assert [path.name for path in tmp_path.iterdir()] == ["lanner.yaml"]


@pytest.mark.parametrize(
    ("given", "shown"), [("PT0.25S", "250ms"), ("PT1M2.5S", "62.5s"), ("P1DT1S", "86401.0s"), (None, ""), (3, "3.0s")]
)
def test_durations_are_shown_short(given: object, shown: str) -> None:
    assert seconds(given) == shown


SPEAKS_FOR_ITSELF = {"serve", "worker", "schema", "flow diff", "flow export", "db upgrade"}
"""Servers, and commands whose output has a format of its own."""


def test_every_command_that_tells_something_tells_it_as_json_too() -> None:
    import typer

    from service.cli.app import app

    def commands(command: Any, path: str) -> list[tuple[str, Any]]:
        inside = getattr(command, "commands", None)
        if inside is None:
            return [(path, command)]
        return [found for name, child in inside.items() for found in commands(child, f"{path} {name}".strip())]

    without = {
        path
        for path, command in commands(typer.main.get_command(app), "")
        if not any("--json" in option.opts for option in command.params)
    }

    assert {path for path in without if not path.startswith(("context ", "source add"))} == SPEAKS_FOR_ITSELF


@pytest.mark.parametrize(
    ("runs", "waits"),
    [
        ([], True),
        ([{"state": {"current": "PAUSED"}}], True),
        ([{"state": {"current": "PAUSED"}, "outputs": {"iterationCount": 2}}], False),
        ([{"state": {"current": "PAUSED"}, "outputs": {"iterationCount": 2}}, {"state": {"current": "PAUSED"}}], True),
    ],
)
def test_waiting_for_an_execution_goes_on_between_two_rounds_of_a_loop(runs: list[dict[str, Any]], waits: bool) -> None:
    from service.cli.executions import _waits_for_somebody

    assert _waits_for_somebody({"state": {"current": "PAUSED"}, "taskRunList": runs}) is waits
