"""The fast path and the full comparison agree, over random histories (T67); globs match in bounded time."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from namespaces.globs import matches_namespace, matches_path
from sync.changes import advance, compare
from sync.inventory import Change, Entry, Inventory, Item
from sync.layouts import Kind
from sync.model import Layout
from tests.sync.conftest import World, at, calls, flow
from tests.sync.test_config import parse

NAMES = [f"f{i}" for i in range(6)]
SPACES = ["company.a", "company.b", "company.c"]


def random_files(seed: random.Random) -> dict[str, str]:
    files: dict[str, str] = {}
    for namespace in SPACES:
        for name in NAMES:
            dice = seed.random()
            path = at(namespace, name if dice > 0.1 else f"sub/{name}")
            if dice < 0.35:
                continue
            if dice < 0.42:
                files[path] = "id: [\n"
            elif dice < 0.48:
                files[path] = flow(seed.choice(NAMES), namespace, str(seed.randrange(3)))
            elif dice < 0.56:
                files[path] = calls(name, namespace, seed.choice(SPACES), seed.choice(NAMES))
            else:
                files[path] = flow(name, namespace, str(seed.randrange(3)))
        if seed.random() < 0.5:
            files[f"namespaces/{namespace}/files/x"] = str(seed.randrange(3))
    return files


@pytest.mark.parametrize("atomicity", ["file", "namespace"])
@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_many_small_syncs_end_where_one_fresh_sync_does(world: World, number: int, atomicity: str) -> None:
    """Without what history alone can tell: revisions, and what was held at a last good version."""
    seed = random.Random(number)
    world.policy(atomicity=atomicity, allow_empty=True)
    for _ in range(8):
        files = random_files(seed)
        world.repo.git("rm", "-rqf", "--ignore-unmatch", ".")
        world.push({**files, "README": str(seed.random())})
        world.sync()
        seen = {item.path: item.seen_oid for item in world.service.items("data") if item.seen_oid}
        world.check()
    stepwise = {(i.path, i.blob_oid) for i in world.service.items("data") if i.state == "ok"}
    full = world.sync(full=True)

    tree = dict(
        reversed(line.split()[2:4]) for line in world.repo.git("ls-tree", "-r", "HEAD", "namespaces").splitlines()
    )
    assert seen == tree
    assert {(i.path, i.blob_oid) for i in world.service.items("data") if i.state == "ok"} == stepwise
    assert not {"create", "update", "delete", "rename", "move"} & set(full.counts)


paths = st.sampled_from([at("a.b", "x"), at("a.b", "y"), at("a.c", "x"), "namespaces/a.b/files/f", "README.md"])
trees = st.dictionaries(paths, st.sampled_from(["1" * 40, "2" * 40, "3" * 40]), max_size=5)


@given(old=trees, new=trees, held=st.sets(paths))
def test_a_difference_of_trees_touches_what_the_whole_tree_does(
    old: dict[str, str], new: dict[str, str], held: set[str]
) -> None:
    source = parse(layout="lanner")
    inventory = Inventory.of(
        Item(path, Kind.FILE if "/files/" in path else Kind.FLOW, path.split("/")[1], path[-6:], "100644",
             None if path in held else oid, oid, "held" if path in held else "ok")
        for path, oid in old.items()
        if path.startswith("namespaces/")
    )  # fmt: skip
    entries = [Entry(path, "100644", oid, 10) for path, oid in new.items()]
    differs = [
        Change(path, Entry(path, "100644", new[path]) if path in new else None)
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    ]
    sizes = dict.fromkeys([*old.values(), *new.values()], 10)

    whole = compare(source, entries, inventory, Layout.LANNER)
    fast = advance(source, differs, inventory, Layout.LANNER, sizes)

    assert fast.touched == whole.touched


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("**", "a/b", True),
        ("**/drafts/**", "drafts/x", True),
        ("**/drafts/**", "a/b/drafts/c/d", True),
        ("**/drafts/**", "a/drafts", False),
        ("a/*.yaml", "a/b.yaml", True),
        ("a/*.yaml", "a/b/c.yaml", False),
        ("a/**/c.yaml", "a/c.yaml", True),
        ("a/**/c.yaml", "a/x/y/c.yaml", True),
        ("?.yaml", "ab.yaml", False),
        ("*a*b*", "xaxbx", True),
        ("*a*b*", "xbxax", False),
    ],
)
def test_globs_over_paths(pattern: str, path: str, matches: bool) -> None:
    assert matches_path(pattern, path) is matches


def test_globs_over_namespaces() -> None:
    assert matches_namespace("a.**", "a.b.c")
    assert not matches_namespace("a.**", "a")
    assert matches_namespace("a.*", "a.b")
    assert not matches_namespace("a.*", "a.b.c")


def test_a_glob_made_to_explode_does_not() -> None:
    started = time.process_time()

    assert not matches_path("*a" * 50 + "b", "a" * 2_000)
    assert not matches_path("**/a/" * 50 + "b", "a/" * 2_000 + "c")
    assert time.process_time() - started < 20
