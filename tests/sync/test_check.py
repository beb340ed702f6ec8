"""The offline check finds what the server finds, at the same places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from namespaces.errors import BadRequest, NotFound
from sync.check import check_path
from tests.sync.conftest import World, at, calls, flow

BAD: dict[str, Any] = {
    at("company.a", "syntax"): "id: a\nnamespace: company.a\ntasks:\n  - id: x\n   type: y\n",
    at("company.a", "one"): flow("same", "company.a"),
    at("company.a", "two"): "# a copy\n" + flow("same", "company.a"),
    at("company.b", "other"): "id: other\n# words\nnamespace: company.c\n" + flow("x", None)[6:],
    at("company.b", "type"): flow("type", "company.b").replace("log.Log", "lgo.Log"),
    at("company.b", "calls"): calls("calls", "company.b", "company.b", "nowhere"),
    at("company.b", "good"): flow("good", "company.b"),
}


def test_the_check_of_a_folder_and_the_sync_agree(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.policy(atomicity="file")
    world.push(BAD)
    monkeypatch.chdir(world.repo.work)

    report = check_path(Path(), catalog=world.catalog)
    run = world.sync()

    offline = {p.file: (p.code, p.line) for p in report.problems if p.severity == "error"}
    assert offline == world.codes(run)
    assert set(offline) == set(BAD) - {at("company.b", "good")}
    assert report.flows == 7


def test_a_commit_is_checked_instead_of_the_work_tree(world: World) -> None:
    first = world.push({at("company.a", "a"): flow("a", "company.a")})
    world.push({at("company.a", "a"): "id: [\n"})

    assert check_path(world.repo.work, rev=first).problems == ()
    assert [p.code for p in check_path(world.repo.work, rev="HEAD").problems] == ["G001"]
    with pytest.raises(NotFound):
        check_path(world.repo.work, rev="nothing")
    with pytest.raises(BadRequest):
        check_path(world.repo.work, rev="--output=/tmp/x")


def test_part_of_a_repository_is_checked_as_part_of_it(tmp_path: Path) -> None:
    for path, text in BAD.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    folder = check_path(tmp_path / "namespaces" / "company.b")
    file = check_path(tmp_path / at("company.b", "other"))

    assert {p.file for p in folder.problems if p.severity == "error"} == {
        str(tmp_path / at("company.b", name)) for name in ("other", "type", "calls")
    }
    assert [(p.code, p.line) for p in file.problems if p.severity == "error"] == [("G010", 3)]


def test_a_single_file_is_checked_alone(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(flow("a"))
    (tmp_path / "b.yaml").write_text(flow("b", None))

    assert check_path(tmp_path / "a.yaml").problems == ()
    assert [p.code for p in check_path(tmp_path / "b.yaml").problems] == ["G020"]


def test_strict_makes_warnings_errors_and_links_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "namespaces" / "company.a" / "flows"
    folder.mkdir(parents=True)
    (folder / "named.yaml").write_text(flow("other", "company.a"))
    (folder / "link.yaml").symlink_to("/etc/passwd")

    problems = check_path(tmp_path, strict=True).problems

    assert {(p.code, str(p.severity)) for p in problems} == {("G101", "error"), ("G031", "error")}


def test_an_unknown_layout_or_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="layout"):
        check_path(tmp_path, layout="odd")
    with pytest.raises(NotFound):
        check_path(tmp_path / "nothing")
