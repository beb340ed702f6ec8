"""The rules of the house: rooms import downwards, come from this repository, and stay readable."""

from __future__ import annotations

import ast
import functools
import importlib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("namespaces", "sync", "runner", "service")
HARD_LIMIT = 500
SOFT_LIMIT = 400
NOT_NAMES = {"utils", "util", "common", "misc", "manager", "helpers"}
# Where a library may be imported from; everywhere else it is a way around the one gate.
ONLY_IN = {
    "celery": ("runner/dispatch/",),
    "kombu": ("runner/dispatch/",),
    "git": ("sync/git.py", "sync/commits.py"),
    "docker": ("runner/worker/", "runner/tasks/"),
    "granian": ("service/server.py",),
    "croniter": ("namespaces/cron.py",),
}
FORBIDDEN = {"pickle", "marshal", "shelve", "httpx", "pytz", "gevent", "dill"}


@functools.cache
def modules() -> dict[str, str]:
    """Path from the root to text."""
    found = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    texts = {path.relative_to(ROOT).as_posix(): path.read_text() for path in found}
    return {name: text for name, text in texts.items() if "migrations/versions" not in name}


@functools.cache
def trees() -> dict[str, tuple[ast.Module, list[ast.AST]]]:
    """Path from the root to the parsed module and all its nodes: parsed once, for all tests."""
    parsed = {name: ast.parse(text) for name, text in modules().items()}
    return {name: (tree, list(ast.walk(tree))) for name, tree in parsed.items()}


def imported(nodes: list[ast.AST]) -> Iterator[tuple[str, int]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno


def test_rooms_import_downwards_only() -> None:
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_imported_from_this_repository(room: str) -> None:
    module = importlib.import_module(room)

    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT)


def test_no_module_is_longer_than_a_person_reads() -> None:
    sizes = {name: len(text.splitlines()) for name, text in modules().items()}
    long = {name: size for name, size in sizes.items() if size > SOFT_LIMIT}
    print(*(f"{size:5} {name}" for name, size in sorted(long.items(), key=lambda item: -item[1])), sep="\n")

    assert {name: size for name, size in long.items() if size > HARD_LIMIT} == {}


def test_every_module_says_what_lives_in_it() -> None:
    assert [name for name, (tree, _) in trees().items() if tree.body and not ast.get_docstring(tree)] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [name for name in modules() if Path(name).stem in NOT_NAMES] == []


def test_libraries_with_one_gate_are_imported_there_only() -> None:
    wrong = []
    for name, (_, nodes) in trees().items():
        for module, line in imported(nodes):
            root = module.partition(".")[0]
            if root in FORBIDDEN or (root in ONLY_IN and not name.startswith(ONLY_IN[root])):
                wrong.append(f"{name}:{line} imports {module}")

    assert wrong == []


def test_the_wall_clock_is_read_in_one_module() -> None:
    wrong = []
    for name, (_, nodes) in trees().items():
        if name == "namespaces/clock.py":
            continue
        for node in nodes:
            if (
                isinstance(node, ast.Attribute)
                and node.attr in {"now", "utcnow", "today"}
                and isinstance(node.value, ast.Name)
                and node.value.id in {"datetime", "date"}
            ):
                wrong.append(f"{name}:{node.lineno}")

    assert wrong == []


def test_no_error_is_swallowed() -> None:
    wrong = []
    for name, (_, nodes) in trees().items():
        for node in nodes:
            if (
                isinstance(node, ast.ExceptHandler)
                and isinstance(node.type, ast.Name | type(None))
                and (node.type is None or node.type.id in {"Exception", "BaseException"})
                and all(isinstance(statement, ast.Pass) for statement in node.body)
            ):
                wrong.append(f"{name}:{node.lineno}")

    assert wrong == []


def test_version_is_the_same_everywhere() -> None:
    from service.version import VERSION

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == VERSION
    assert f"## {VERSION}" in (ROOT / "CHANGELOG.md").read_text().replace("## [", "## ").replace("]", "")


def test_locked_requirements_name_no_host_and_have_hashes() -> None:
    for lock in ("run", "dev"):
        text = (ROOT / "requirements" / f"{lock}.lock").read_text()

        assert "://" not in text
        assert text.count("--hash=sha256:") > text.count("==")
