"""What is refused before any process is started: T24, T53, G1 to G3; messages name place and nearest key."""

from __future__ import annotations

from typing import Any

import pytest

from namespaces.errors import ConfigurationError
from namespaces.ownership import SourceRule, check_rules, owner_of
from sync.config import parse_git, parse_sources
from sync.model import Settings
from tests.sync.conftest import World

GOOD: dict[str, Any] = {"name": "data", "url": "https://git.example.com/a.git", "namespaces": ["a.**"]}


def parse(**changes: Any) -> Any:
    return parse_sources([{**GOOD, **changes}], resolve_credential=lambda reference: "value")[0]


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c id",
        "ext::sh%20-c%20id",
        "fd::17",
        "--upload-pack=id",
        "-oProxyCommand=id",
        "ssh://-oProxyCommand=id/x",
        "ssh://user@-oProxyCommand=id/x",
        "https://host/a.git\nfoo",
        "https://host/$HOME",
        "https://host/`id`",
        "https://user:password@host/a.git",
        "https://:password@host/a.git",
        "file:///etc",
        "file://host/etc",
        "/etc",
        "../x",
        "git://host/a.git",
        "http://host/a.git",
        "ftp://host/a",
        "https://169.254.169.254/latest",
        "https://",
        "https:///a.git",
        "https://host",
        "https://host/a.git?x=1",
        "https://ho st/a",
        "",
    ],
)
def test_an_address_that_could_be_something_else_is_refused_at_load(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(url=url)

    assert refused.value.where == "sources[0].url"
    assert "password@" not in str(refused.value)


@pytest.mark.parametrize(
    "ref",
    [
        {"branch": "-x"},
        {"branch": "a..b"},
        {"branch": "a\nb"},
        {"branch": "@{u}"},
        {"branch": "a b"},
        {"branch": "a.lock"},
        {"branch": ".a"},
        {"branch": "a/"},
        {"branch": "a~1"},
        {"branch": "@"},
        {"branch": ""},
        {"name": "refs/heads/../x"},
        {"name": "heads/x"},
        {"tag": "v1:x"},
        {"commit": "abc123"},
        {"commit": "A" * 40},
        {"branch": "a", "tag": "b"},
        {},
    ],
)
def test_a_ref_that_git_could_misread_is_refused_at_load(ref: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(ref=ref)

    assert refused.value.where.startswith("sources[0].ref")


@pytest.mark.parametrize(
    ("changes", "where", "words"),
    [
        ({"polll": "5s"}, "sources[0].polll", "did you mean 'poll'?"),
        ({"apply": {"guard": {"max_delets": 3}}}, "sources[0].apply.guard.max_delets", "did you mean 'max_deletes'?"),
        ({"auth": {"type": "token", "token": "literal"}}, "sources[0].auth.token", "reference"),
        ({"auth": {"type": "token"}}, "sources[0].auth", "needs `token`"),
        ({"auth": {"type": "ssh", "private_key": "${env:K}"}}, "sources[0].auth.type", "ssh"),
        ({"poll": "5 parsecs"}, "sources[0].poll", "not a duration"),
        ({"limits": {"max_flow_bytes": "big"}}, "sources[0].limits.max_flow_bytes", "not a size"),
        ({"namespaces": []}, "sources[0].namespaces", "at least 1"),
        ({"namespaces": ["a..b"]}, "sources[0].namespaces[0]", "pattern"),
        ({"layout": "kestra-tasks"}, "sources[0].layout", "target_namespace"),
        ({"path": "../x"}, "sources[0].path", "'..'"),
        ({"name": "Data"}, "sources[0].name", "a-z"),
        ({"webhook": {"provider": "githup"}}, "sources[0].webhook.provider", "github"),
    ],
)
def test_a_wrong_setting_names_its_place(changes: dict[str, Any], where: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(**changes)

    assert refused.value.where == where
    assert words in refused.value.message


def test_an_scp_like_address_becomes_ssh() -> None:
    auth = {"type": "ssh", "private_key": "${env:K}", "known_hosts": "${env:H}"}

    assert parse(url="git@example.com:data/flows.git", auth=auth).url == "ssh://git@example.com/data/flows.git"


def test_the_git_section_sets_defaults_for_its_sources(tmp_path: Any) -> None:
    section = {
        "allow_file_urls": True,
        "defaults": {"poll": "2s"},
        "sources": [{**GOOD, "url": "file:///srv/a%20b.git"}, {**GOOD, "name": "two", "namespaces": ["b"], "poll": 0}],
    }

    settings, sources = parse_git(section, data_dir=tmp_path, resolve_credential=lambda reference: "x")

    assert settings.mirror_dir == tmp_path / "git"
    assert [source.poll.total_seconds() for source in sources] == [2, 0]


def test_where_comes_from_the_caller_who_knows_lines() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_sources([{**GOOD, "polll": 1}], resolve_credential=str, locate=lambda path: f"lanner.yaml:7:{len(path)}")

    assert refused.value.where == "lanner.yaml:7:2"


def test_allowed_hosts_admits_no_other() -> None:
    settings = Settings(mirror_dir=None, allowed_hosts=("git.example.com",))  # type: ignore[arg-type]
    one = parse_sources([GOOD], resolve_credential=str, settings=settings)

    assert one[0].address.host == "git.example.com"
    with pytest.raises(ConfigurationError, match="allowed_hosts"):
        parse_sources([{**GOOD, "url": "https://other.example.com/a"}], resolve_credential=str, settings=settings)


def test_a_repr_never_shows_a_credential() -> None:
    source = parse(auth={"type": "token", "token": "${env:TOKEN}"})

    assert source.auth.token.value() == "value"
    assert "value" not in repr(source.auth)


def test_two_sources_may_not_claim_the_same_namespaces() -> None:
    with pytest.raises(ConfigurationError, match=r"both claim 'a\.\*\*'"):
        parse_sources([GOOD, {**GOOD, "name": "other"}], resolve_credential=str)
    with pytest.raises(ConfigurationError, match="two sources are named"):
        parse_sources([GOOD, {**GOOD, "namespaces": ["b"]}], resolve_credential=str)


def test_the_longest_literal_prefix_owns_a_namespace() -> None:
    rules = (
        SourceRule("all", ("company.**", "system")),
        SourceRule("data", ("company.data", "company.data.**"), ("company.data.secret.**",)),
    )
    check_rules(rules)

    assert owner_of(rules, "company.sales") == "all"
    assert owner_of(rules, "company.data") == "data"
    assert owner_of(rules, "company.data.a.b") == "data"
    assert owner_of(rules, "company.data.secret.x") == "all"
    assert owner_of(rules, "company") is None
    assert owner_of(rules, "system") == "all"
    assert owner_of((SourceRule("x", ("**",)),), "system") is None


def test_no_process_is_started_for_an_evil_address(world: World) -> None:
    marker = world.folder / "executed"
    for url in (f"ext::touch {marker}", f"--upload-pack=touch {marker}", f"ssh://-oProxyCommand=touch{marker}/x"):
        with pytest.raises(ConfigurationError):
            world.make({**world.config, "url": url})

    assert not marker.exists()
    assert world.asked_git() == []
