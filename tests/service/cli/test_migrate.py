"""`lanner migrate` on files: what it writes, what it says, and how it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from service.cli.app import run
from service.cli.codes import explanation

OLD = "id: f\nnamespace: n\ntasks:\n  - {id: t, type: io.kestra.plugin.core.log.Log, message: x, runIf: 'true'}\n"
NEW = OLD.replace("runIf", "when")
STUCK = "id: g\nnamespace: n\ntasks:\n  - {id: t, type: io.kestra.plugin.core.state.Get}\n"


def flow(folder: Path, name: str = "f.yaml", text: str = OLD) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_check_shows_the_diff_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = flow(tmp_path)

    assert run(["migrate", str(path)]) == 1

    shown = capsys.readouterr()
    assert path.read_text() == OLD
    assert f"{path}: can be converted" in shown.out
    assert "M05" in shown.out
    assert "+  - {id: t, type: io.kestra.plugin.core.log.Log, message: x, when: 'true'}" in shown.out
    assert "1 file: 0 ok, 1 can be converted" in shown.err


def test_written_files_are_then_fine(tmp_path: Path) -> None:
    path = flow(tmp_path, "sub/f.yaml")
    path.chmod(0o640)

    assert run(["migrate", "--write", str(tmp_path)]) == 0

    assert path.read_text() == NEW
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(path.parent) == ["f.yaml"]
    assert run(["migrate", "--check", str(tmp_path)]) == 0


def test_another_folder_gets_every_file_in_its_place(tmp_path: Path) -> None:
    flow(tmp_path, "in/a/f.yaml")
    flow(tmp_path, "in/g.yml", NEW.replace("id: f", "id: g"))

    assert run(["migrate", "--out", str(tmp_path / "out"), str(tmp_path / "in")]) == 0

    assert (tmp_path / "out/a/f.yaml").read_text() == NEW
    assert (tmp_path / "out/g.yml").exists()
    assert (tmp_path / "in/a/f.yaml").read_text() == OLD


def test_what_needs_a_person_is_left_with_a_comment_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = flow(tmp_path, text=STUCK)

    assert run(["migrate", "--write", str(path)]) == 1

    assert "  # lanner migrate M18: state.Get does not exist in 2.x" in path.read_text()
    assert "docs/reference/migration.md#m18" in capsys.readouterr().out


def test_json_has_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = flow(tmp_path)

    assert run(["migrate", "--format", "json", str(path)]) == 1

    (told,) = json.loads(capsys.readouterr().out)
    assert (told["file"], told["status"]) == (str(path), "can be converted")
    assert told["remarks"][0] == {
        "line": 4,
        "rule": "M05",
        "kind": "converted",
        "message": "runIf is now when",
        "link": "docs/reference/migration.md#m05",
    }
    assert told["diff"].startswith("--- ")


def test_an_unreadable_file_ends_with_2_and_the_others_are_converted(tmp_path: Path) -> None:
    good = flow(tmp_path)
    flow(tmp_path, "bad.yaml", "id: [")

    assert run(["migrate", "--write", str(tmp_path)]) == 2
    assert good.read_text() == NEW


@pytest.mark.parametrize(
    "arguments",
    [
        ["--check", "--write", "."],
        ["--target", "3", "."],
        ["--format", "xml", "."],
        ["/there/is/nothing"],
        [],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert run(["migrate", *arguments]) == 2


def test_the_folder_that_is_read_is_not_written_with_out(tmp_path: Path) -> None:
    path = flow(tmp_path)

    assert run(["migrate", "--out", str(tmp_path), str(tmp_path)]) == 2
    assert path.read_text() == OLD


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    flow(tmp_path, "real.yaml")
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/link.yaml").symlink_to(tmp_path / "real.yaml")

    assert run(["migrate", "--write", str(tmp_path / "flows")]) == 0
    assert (tmp_path / "real.yaml").read_text() == OLD


def test_a_rule_is_explained_where_codes_are() -> None:
    assert explanation("m05").startswith("M05 runIf")
