"""Trees that were made to hurt: T47 to T54, G4 to G7 of the bad inputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from sync.model import State
from tests.support.gitrepo import GitRepo
from tests.sync.conftest import World, at, flow

Git = Callable[..., str]


def plant(git: Git, tree: list[tuple[str, str, str]], message: str = "planted") -> str:
    """Commit a hand-made tree of (mode, path, blob id or content) to main, past every check of a porcelain."""

    def make(entries: dict[str, Any]) -> str:
        lines = []
        for name, value in entries.items():
            if isinstance(value, dict):
                lines.append(f"040000 tree {make(value)}\t{name}")
            else:
                mode, oid = value
                kind = "commit" if mode == "160000" else "blob"
                lines.append(f"{mode} {kind} {oid}\t{name}")
        return git("mktree", "--missing", "-z", stdin=("\0".join(lines) + "\0").encode("utf-8", "surrogateescape"))

    root: dict[str, Any] = {}
    for mode, path, content in tree:
        *folders, name = path.split("/")
        here = root
        for folder in folders:
            here = here.setdefault(folder, {})
        oid = content if mode == "160000" else git("hash-object", "-w", "--stdin", stdin=content.encode())
        here[name] = (mode, oid)
    commit = git("-c", "user.name=Eve", "-c", "user.email=eve@example.com", "commit-tree", make(root), "-m", message)
    git("update-ref", "refs/heads/main", commit)
    return commit


def test_line_ends_make_no_revision(world: World) -> None:
    world.synced({at("company.data", "a"): flow("a")})

    run = world.synced({at("company.data", "a"): flow("a").replace("\n", "\r\n")})

    assert world.flows() == {"company.data.a": 1}
    assert dict(run.counts) == {"unchanged": 1}
    assert world.status.state is State.SYNCED


def test_a_byte_order_mark_is_accepted_with_a_warning(world: World) -> None:
    run = world.synced({at("company.data", "a"): b"\xef\xbb\xbf" + flow("a").encode()})

    assert world.flows() == {"company.data.a": 1}
    assert "G103" in {r.code for r in world.results(run)}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (flow("a").encode("utf-16"), "G002"),
        (flow("a").encode() + b"\x00", "G002"),
        (b"id: a\ndescription: \xff\xfe\n", "G002"),
        (b"[" * 100_000, "G006"),
        (b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
            b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 10)) for i in range(8)), "G006"),
        (b"id: &x [*x]\n", "G006"),
        (flow("a").encode() + b"tasks: []\n", "G003"),
        (b"id: a\ntasks: !!python/object/apply:os.system [id]\n", "G005"),
        (flow("a").encode() + b"---\n" + flow("b").encode(), "G014"),
        (flow("a").removeprefix("id: a\n").encode(), "G015"),
        (flow("a").replace("core.log.Log", "core.lgo.Log").encode(), "G020"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "G035"),
    ],
    ids=["utf16", "nul", "bytes", "deep", "laughs", "recursive", "duplicate", "tag", "documents", "id", "type", "lfs"],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_finding_and_never_an_accident(
    world: World, content: bytes, code: str
) -> None:
    world.synced({at("company.data", "a"): flow("a"), at("company.other", "b"): flow("b", "company.other")})

    run = world.synced({at("company.data", "a"): content, at("company.other", "b"): flow("b", "company.other", "new")})

    assert {c for c, _ in world.codes(run).values()} == {code}
    assert world.flows() == {"company.data.a": 1, "company.other.b": 2}


@pytest.mark.parametrize("value", ["9" * 5_000, "2024-13-45"])
def test_an_impossible_number_or_date_is_refused_where_one_is_wanted(world: World, value: str) -> None:
    text = flow("a").replace("id: a\n", f"id: a\nconcurrency:\n  limit: {value}\n")

    run = world.synced({at("company.data", "a"): text})

    assert [line for _, line in world.codes(run).values()] == [3]
    assert world.flows() == {}


def test_an_empty_file_is_ignored_with_a_warning(world: World) -> None:
    run = world.synced({at("company.data", "a"): flow("a"), at("company.data", "empty"): "# nothing yet\n"})

    assert world.flows() == {"company.data.a": 1}
    assert {r.code for r in world.results(run) if r.path == at("company.data", "empty")} == {"G102"}
    assert world.status.state is State.SYNCED


def test_a_case_only_rename_is_a_move(world: World) -> None:
    world.synced({at("company.data", "A"): flow("a")})

    run = world.synced({at("company.data", "A"): None, at("company.data", "a"): flow("a")})

    assert dict(run.counts) == {"move": 1}
    assert world.flows() == {"company.data.a": 1}


@pytest.mark.parametrize(("one", "two"), [("A", "a"), ("caf\u00e9", "cafe\u0301")], ids=["case", "unicode"])
def test_paths_that_are_one_elsewhere_are_an_error_at_both(world: World, one: str, two: str) -> None:
    world.synced({at("company.data", one): flow("a")})

    run = world.synced({at("company.data", two): flow("b")})
    reported = world.codes(run)
    world.synced({at("company.data", one): None})

    assert reported == {at("company.data", one): ("G023", 1), at("company.data", two): ("G023", 1)}
    assert world.flows() == {"company.data.b": 1}


def test_mode_changes_empty_commits_and_readmes_change_nothing(world: World) -> None:
    world.synced({at("company.data", "a"): flow("a")})
    generation = world.generation()

    world.repo.git("update-index", "--chmod=+x", at("company.data", "a"))
    world.repo.git("commit", "-qm", "mode")
    world.repo.push()
    mode = world.sync()
    world.synced({})
    world.synced({"README.md": "words", "namespaces/company.data/README.md": "more"})

    assert mode.counts.get("update") is None
    assert world.flows() == {"company.data.a": 1}
    assert world.generation() == generation
    assert world.status.applied_commit == world.repo.head


def test_the_executable_bit_of_a_namespace_file_is_followed(world: World) -> None:
    path = "namespaces/company.data/files/run.sh"
    world.synced({path: "echo"})
    world.repo.git("update-index", "--chmod=+x", path)
    world.repo.git("commit", "-qm", "mode")
    world.repo.push()

    run = world.sync()

    assert dict(run.counts) == {"update": 1}


def test_a_flow_over_the_limit_is_refused_before_it_is_read(world: World) -> None:
    world.configure(limits={"max_flow_bytes": 1000, "max_file_bytes": 2000})
    base = "namespaces/company.data/files/"

    run = world.synced(
        {at("company.data", "a"): flow("a") + "# " + "x" * 2000, base + "big": "y" * 3000,
         at("company.other", "b"): flow("b", "company.other")}
    )  # fmt: skip

    assert world.codes(run) == {at("company.data", "a"): ("G034", 1), base + "big": ("G034", 1)}
    assert world.flows() == {"company.other.b": 1}


@pytest.mark.parametrize("limits", [{"max_files": 3}, {"max_total_bytes": 200}])
def test_a_tree_over_the_limits_is_an_error_of_the_source(world: World, limits: dict[str, int]) -> None:
    world.synced({at("company.data", "a"): flow("a")})
    world.configure(limits=limits)

    run = world.synced({at("company.data", f"n{i}"): flow(f"n{i}") for i in range(4)})

    assert (run.outcome, run.reason) == ("failed", "Limit")
    assert next(iter(limits)) in run.message
    assert world.flows() == {"company.data.a": 1}


def test_a_pack_over_the_limit_is_refused(world: World) -> None:
    import random

    world.configure(fetch={"max_pack_bytes": 100_000})
    noise = random.Random(1).randbytes(500_000)

    run = world.synced({at("company.data", "a"): flow("a"), "noise.bin": noise})

    assert (run.outcome, run.reason) == ("failed", "Limit")
    assert world.flows() == {}


def test_a_tree_bomb_is_stopped_at_the_limit(world: World, remote_git: Git) -> None:
    blob = remote_git("hash-object", "-w", "--stdin", stdin=b"x")
    tree = remote_git("mktree", stdin="".join(f"100644 blob {blob}\tf{i}\n" for i in range(10)).encode())
    for _ in range(7):
        tree = remote_git("mktree", stdin="".join(f"040000 tree {tree}\td{i}\n" for i in range(10)).encode())
    commit = remote_git("-c", "user.name=E", "-c", "user.email=e@x", "commit-tree", tree, "-m", "bomb")
    remote_git("update-ref", "refs/heads/main", commit)
    world.configure(limits={"max_files": 2_000})
    started = time.monotonic()

    run = world.sync()

    assert (run.outcome, run.reason) == ("failed", "Limit")
    assert time.monotonic() - started < 55  # never a hundred million entries


def test_folders_without_end_are_refused(world: World) -> None:
    deep = "namespaces/company.data/flows/" + "d/" * 25 + "a.yaml"

    run = world.synced({deep: flow("a")})

    assert world.codes(run) == {deep: ("G036", 1)}


def test_symbolic_links_and_submodules_are_reported_and_never_followed(world: World, remote_git: Git) -> None:
    world.synced({"README": "x"})
    flows, files = "namespaces/company.data/flows/", "namespaces/company.data/files/"
    plant(
        remote_git,
        [
            ("120000", flows + "passwd.yaml", "/etc/passwd"),
            ("120000", files + "link", "../../../../etc/passwd"),
            ("160000", files + "module", "1" * 40),
            ("100644", ".gitmodules", '[submodule "x"]\n\tpath = x\n\turl = ext::sh -c "touch /tmp/owned"\n'),
            ("100644", ".gitattributes", "* filter=evil\n"),
            ("100644", "namespaces/company.other/flows/b.yaml", flow("b", "company.other")),
        ],
    )

    run = world.sync()

    assert world.codes(run) == {
        flows + "passwd.yaml": ("G031", 1),
        files + "link": ("G031", 1),
        files + "module": ("G032", 1),
    }
    assert world.flows() == {"company.other.b": 1}
    assert world.files() == {}


@pytest.mark.parametrize("name", ["..", ".git"])
def test_a_tree_that_leaves_its_folder_is_refused_at_the_fetch(world: World, remote_git: Git, name: str) -> None:
    world.synced({at("company.data", "a"): flow("a")})
    blob = remote_git("hash-object", "-w", "--stdin", stdin=b"x")
    inner = f"100644 blob {blob}\tx".encode()
    tree = remote_git("mktree", stdin=inner)
    raw = b"40000 " + name.encode() + b"\0" + bytes.fromhex(tree)
    outer = remote_git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=raw)
    commit = remote_git("-c", "user.name=E", "-c", "user.email=e@x", "commit-tree", outer, "-m", "evil")
    remote_git("update-ref", "refs/heads/main", commit)

    run = world.sync()

    assert (run.outcome, run.reason) == ("failed", "BadObjects")
    assert world.flows() == {"company.data.a": 1}


@pytest.mark.parametrize("name", ["a\\b", "trailing. ", "C:x", "line\nbreak"])
def test_names_that_mean_something_else_elsewhere_are_refused(world: World, remote_git: Git, name: str) -> None:
    world.synced({"README": "x"})
    path = f"namespaces/company.data/files/{name}"
    plant(remote_git, [("100644", path, "x"), ("100644", at("company.other", "b"), flow("b", "company.other"))])

    run = world.sync()

    assert {code for code, _ in world.codes(run).values()} <= {"G036"}
    assert run.outcome == "degraded" or run.reason == "BadObjects"
    assert world.files() == {}


def test_hooks_and_filters_of_the_remote_are_never_run(world: World) -> None:
    marker = world.folder / "owned"
    for hook in ("post-checkout", "pre-receive", "post-update", "reference-transaction"):
        path = world.repo.remote / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    config = world.repo.remote / "config"
    config.write_text(f"{config.read_text()}[core]\n\tfsmonitor = touch {marker}\n\thooksPath = hooks\n")

    world.synced({at("company.data", "a"): flow("a"), ".gitattributes": "*.yaml filter=evil diff=evil\n"})

    assert world.flows() == {"company.data.a": 1}
    assert not marker.exists()


def test_a_ref_whose_tail_looks_like_ours_is_not_taken_for_it(world: World, remote_git: Git) -> None:
    world.synced({at("company.data", "a"): flow("a")})
    other = world.repo.commit({at("company.data", "a"): flow("a", message="other")}, push=False)
    world.repo.git("push", "-q", "origin", f"{other}:refs/heads/x/refs/heads/main")
    world.asked_git()

    assert world.service.poll("data") is None
    assert world.asked_git() == ["ls-remote"]


def test_annotated_tags_are_peeled_and_a_tag_to_a_blob_is_no_commit(world: World) -> None:
    world.push({at("company.data", "a"): flow("a")})
    world.repo.git("tag", "-a", "v1", "-m", "one")
    world.repo.git("push", "-q", "origin", "v1")
    world.configure(ref={"tag": "v1"})

    first = world.sync()
    again = world.service.poll("data")
    moved = world.push({at("company.data", "a"): flow("a", message="two")})
    world.repo.git("tag", "-f", "-a", "v1", "-m", "two")
    world.repo.git("push", "-qf", "origin", "v1")
    second = world.sync()
    blob = world.repo.git("rev-parse", f"HEAD:{at('company.data', 'a')}")
    world.repo.git("tag", "-f", "v1", blob)
    world.repo.git("push", "-qf", "origin", "v1")
    third = world.sync()

    assert (first.outcome, again) == ("applied", None)
    assert (second.outcome, second.to_commit) == ("applied", moved)
    assert (third.outcome, third.reason) == ("failed", "NotACommit")
    assert world.flows() == {"company.data.a": 2}


def test_a_commit_id_is_followed_even_without_a_branch(world: World, remote_git: Git) -> None:
    remote_git("config", "uploadpack.allowAnySHA1InWant", "true")
    wanted = world.push({at("company.data", "a"): flow("a")})
    world.push({at("company.data", "a"): flow("a", message="later")})
    world.configure(ref={"commit": wanted})

    run = world.sync()
    again = world.service.poll("data")
    world.configure(ref={"commit": "1" * 40})
    missing = world.sync()

    assert (run.to_commit, world.flows()) == (wanted, {"company.data.a": 1})
    assert again is None
    assert (missing.outcome, missing.reason) == ("failed", "RefMissing")


def test_a_sha256_repository_works(world: World, tmp_path: Any) -> None:
    folder = tmp_path / "sha256"
    folder.mkdir()
    world.repo = GitRepo(folder, object_format="sha256")
    world.configure(url=world.repo.url)

    first = world.synced({at("company.data", "a"): flow("a")})
    world.synced({at("company.data", "a"): flow("a", message="new")})

    assert first.to_commit is not None
    assert len(first.to_commit) == 64
    assert world.flows() == {"company.data.a": 2}


@pytest.mark.parametrize(
    ("files", "layout"),
    [
        ({"company.data/flows/a.yml": flow("a"), "company.data/files/x": "1"}, "kestra-tenant"),
        ({"any/where.yaml": flow("a"), "docker-compose.yml": "services: {}\n", "x.yaml": "{{ broken"}, "flat"),
    ],
)
def test_other_layouts_are_recognised_and_kept(world: World, files: dict[str, str], layout: str) -> None:
    world.synced(dict(files))
    kept = world.status.layout

    run = world.synced({at("company.data", "b"): flow("b")})

    assert kept == layout
    assert world.flows() == {"company.data.a": 1}
    assert (run.outcome, run.reason) == ("failed", "LayoutChanged")
    assert "G021" in run.message


def test_the_layout_of_kestra_tasks_takes_its_namespace_from_the_folder(world: World) -> None:
    world.configure(layout="kestra-tasks", target_namespace="company.data")

    run = world.synced({"_flows/a.yaml": flow("a", "dev"), "_flows/sub/b.yaml": flow("b", None), "_files/x": "1"})

    assert world.flows() == {"company.data.a": 1, "company.data.sub.b": 1}
    assert set(world.files()) == {"company.data/x"}
    assert "G011" in {r.code for r in world.results(run)}


def test_include_and_ignore_select_files(world: World) -> None:
    world.configure(include=["namespaces/**"], ignore=["**/drafts/**"])

    world.synced({at("company.data", "a"): flow("a"), at("company.data", "drafts/b"): flow("b")})

    assert world.flows() == {"company.data.a": 1}


def test_lints_warn_without_holding(world: World) -> None:
    text = flow("other", more="description: \u202eevil\n") + "# ghp_" + "a" * 36 + "\n"

    run = world.synced({at("company.data", "a"): text})

    assert {r.code for r in world.results(run) if r.code} == {"G101", "G105", "G106"}
    assert world.flows() == {"company.data.other": 1}
