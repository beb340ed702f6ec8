from __future__ import annotations

import pytest

from runner.plugin import RunFailed
from runner.tasks.globs import namespace_matcher, output_matcher, translate


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.csv", "a.csv", True),
        ("*.csv", "sub/a.csv", False),
        ("sub/*.csv", "sub/a.csv", True),
        ("**.csv", "a.csv", True),
        ("**.csv", "x/y/a.csv", True),
        ("**/*.csv", "a.csv", False),
        ("**/*.csv", "x/y/a.csv", True),
        ("a?.txt", "ab.txt", True),
        ("a?.txt", "a/.txt", False),
        ("[a-c].txt", "b.txt", True),
        ("[!a-c].txt", "b.txt", False),
        ("[!a].txt", "/.txt", False),
        ("*.{txt,md}", "x.md", True),
        ("*.{txt,md}", "x.csv", False),
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
        ("*", ".hidden", True),
        ("glob:/work/**/x", "y/x", True),
        ("regex:/work/\\d+", "12", True),
        ("./a.txt", "a.txt", True),
    ],
)
def test_java_globs_on_output_files(pattern: str, path: str, matches: bool) -> None:
    assert output_matcher([pattern], "/work")(path) is matches


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("dir/x.sql", "/dir/x.sql", True),
        ("x.sql", "/dir/x.sql", True),
        ("*.sql", "/x.sql", False),
        ("**.sql", "/dir/x.sql", True),
        ("/x.sql", "/x.sql", True),
    ],
)
def test_globs_on_namespace_files(pattern: str, path: str, matches: bool) -> None:
    assert namespace_matcher([pattern])(path) is matches


@pytest.mark.parametrize("pattern", ["[a", "{a,b", "{a{b}}", "a\\", "regex:("])
def test_a_bad_pattern_is_named(pattern: str) -> None:
    with pytest.raises(RunFailed):
        output_matcher([pattern], "/work")
    assert translate("a")
