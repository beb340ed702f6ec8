"""`lanner check` says offline what a sync would say."""

from __future__ import annotations

from pathlib import Path

import pytest

from namespaces.errors import NotFound
from service.cli.app import run
from service.cli.offline import check_path

GOOD = "id: {id}\nnamespace: {namespace}\ntasks:\n  - {{id: a, type: io.kestra.plugin.core.log.Log, message: hi}}\n"


def write(folder: Path, path: str, text: str) -> Path:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def codes(folder: Path, **options: str) -> list[str]:
    return [problem.code for problem in check_path(folder, **options).problems]


@pytest.mark.parametrize(
    ("path", "namespace"),
    [
        ("namespaces/a.b/flows/one.yaml", "a.b"),
        ("namespaces/a/b/flows/deeper/one.yaml", "a.b"),
        ("a.b/flows/one.yaml", "a.b"),
        ("anything/one.yml", "a.b"),
    ],
)
def test_a_good_flow_passes_in_every_layout(tmp_path: Path, path: str, namespace: str) -> None:
    write(tmp_path, path, GOOD.format(id="one", namespace=namespace))

    report = check_path(tmp_path)

    assert (report.problems, report.flows) == ((), 1)


def test_a_mistake_has_its_place(tmp_path: Path) -> None:
    write(tmp_path, "one.yaml", GOOD.format(id="one", namespace="a").replace("Log,", "Lgo,"))

    (problem,) = check_path(tmp_path).problems

    assert problem.code == "G020"
    assert (Path(problem.file), problem.line, problem.column) == (tmp_path / "one.yaml", 4, 13)
    assert "did you mean io.kestra.plugin.core.log.Log" in problem.message


def test_a_namespace_that_is_not_its_folders(tmp_path: Path) -> None:
    write(tmp_path, "namespaces/a/flows/one.yaml", GOOD.format(id="one", namespace="b"))

    assert codes(tmp_path) == ["G010"]


def test_two_files_with_one_identity_are_both_named(tmp_path: Path) -> None:
    write(tmp_path, "x.yaml", GOOD.format(id="x", namespace="a"))
    write(tmp_path, "copy/x.yaml", GOOD.format(id="x", namespace="a"))

    assert codes(tmp_path) == ["G012", "G012"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, "namespaces/a/flows/one.yaml", GOOD.format(id="one", namespace="a"))
    (tmp_path / "namespaces/a/flows/two.yaml").symlink_to("/etc/passwd")
    (tmp_path / "namespaces/a/files").symlink_to("/etc")

    assert codes(tmp_path) == ["G031"]


def test_other_files_and_hidden_folders_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "one.yaml", GOOD.format(id="one", namespace="a"))
    write(tmp_path, "compose.yaml", "services: {web: {image: nginx}}")
    write(tmp_path, ".venv/broken.yaml", "id: [")
    write(tmp_path, "node_modules/broken.yaml", "id: [\ntasks:\n")

    assert check_path(tmp_path).flows == 1
    assert codes(tmp_path) == []


def test_a_call_of_an_unknown_flow_is_an_error_in_a_tree_and_a_warning_alone(tmp_path: Path) -> None:
    text = (
        "id: one\nnamespace: a\ntasks:\n"
        "  - {id: t, type: io.kestra.plugin.core.flow.Subflow, namespace: a, flowId: two}\n"
    )
    flow = write(tmp_path, "one.yaml", text)

    in_tree, alone = check_path(tmp_path).problems[0], check_path(flow).problems[0]

    assert (in_tree.code, in_tree.severity, alone.severity) == ("G060", "error", "warning")

    write(tmp_path, "two.yaml", GOOD.format(id="two", namespace="a"))
    assert codes(tmp_path) == []


def test_a_broken_file_does_not_spoil_its_neighbours(tmp_path: Path) -> None:
    for index in range(5):
        write(tmp_path, f"namespaces/a/flows/f{index}.yaml", GOOD.format(id=f"f{index}", namespace="a"))
    write(tmp_path, "namespaces/a/flows/broken.yaml", "id: broken\nnamespace: a\ntasks: [\n")

    assert codes(tmp_path) == ["G001"]


def test_the_exit_code_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path, "one.yaml", GOOD.format(id="one", namespace="a"))
    lint = write(tmp_path, "named.yaml", GOOD.format(id="otherwise", namespace="a"))

    assert run(["check", str(good)]) == 0
    assert run(["check", str(lint)]) == 0
    assert run(["check", str(lint), "--strict"]) == 1
    assert "2 flows checked: 0 errors, 1 warning" not in capsys.readouterr().out
    with pytest.raises(NotFound):
        check_path(tmp_path / "absent")


def test_the_examples_are_without_findings() -> None:
    examples = Path(__file__).parents[3] / "examples"
    found = [p for p in check_path(examples).problems if "plugin/" not in p.file]

    assert found == []


def test_a_path_that_does_not_exist_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1 would tell a CI that flows are wrong."""
    assert run(["check", str(tmp_path / "nothing")]) == 2
    assert "there is no" in capsys.readouterr().err


def test_json_is_asked_for_as_everywhere_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "one.yaml", "id: one\nnamespace: a\ntasks: []\n")

    assert run(["check", str(tmp_path), "--json"]) == 1
    assert '"code"' in capsys.readouterr().out
