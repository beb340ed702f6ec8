"""`lanner.yaml`, the environment and options become settings, and mistakes name file and line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest

from namespaces.errors import ConfigurationError
from service.settings import Settings, load_settings
from service.settings.table import rows
from service.settings.values import format_size, mask_url, parse_duration, parse_size


def load(tmp_path: Path, text: str, **options: object) -> Settings:
    path = tmp_path / "lanner.yaml"
    path.write_text(dedent(text))
    return load_settings(path, options.get("overrides"), environ=options.get("environ", {}))  # type: ignore[arg-type]


def complaints(tmp_path: Path, text: str, **options: object) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text, **options)
    return caught.value.message.splitlines()


def test_without_a_file_everything_has_a_default() -> None:
    settings = load_settings(environ={}, config=None)

    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8080)
    assert settings.database_url == f"sqlite:///{settings.data_dir / 'lanner.db'}"
    assert settings.retention.idempotency_keys == timedelta(days=7)


def test_an_option_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    text = "server: {host: 127.0.0.2, port: 1001, drain: 10s}"

    settings = load(
        tmp_path,
        text,
        environ={"LANNER_SERVER__HOST": "127.0.0.3", "LANNER_SERVER__PORT": "1002"},
        overrides={"server.port": 1003},
    )

    assert settings.server.port == 1003
    assert settings.server.host == "127.0.0.3"
    assert settings.server.drain == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("server:\n  port: 99999", "lanner.yaml:2 server.port must be 1–65535"),
        ("server:\n  port: eighty", "lanner.yaml:2 server.port must be a whole number"),
        ("server:\n  prot: 80", "lanner.yaml:2 server.prot is not a setting, did you mean 'port'?"),
        ("sever: {}", "lanner.yaml:1 sever is not a setting, did you mean 'server'?"),
        ("server: 8080", "lanner.yaml:1 server must be a mapping"),
        ("\n\nauth: {mode: open}", "lanner.yaml:3 auth.mode must be one of 'basic' or 'none'"),
        ("server: {timezone: Mars/Olympus}", "lanner.yaml:1 server.timezone must be a time zone such as Europe/Paris"),
        ("retention: {audit: 1 month}", "lanner.yaml:1 retention.audit must be a duration such as 60s, 5m, 7d or PT5M"),
        ("limits:\n  body_bytes: big", "lanner.yaml:2 limits.body_bytes must be a size such as 512KiB, 10MiB or 1GiB"),
        ("dispatch: {kind: celery}", "lanner.yaml:1 dispatch kind celery needs broker_url"),
        ("a: 1\na: 2", "lanner.yaml:2 a is given twice"),
        ("server: [", "lanner.yaml:2 did not find expected node content"),
        ("- a", "lanner.yaml:1 must be a mapping of sections"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    assert complaints(tmp_path, text) == [complaint]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    found = complaints(tmp_path, "server: {port: 0}\nauth: {mode: x}\nfoo: 1")

    assert len(found) == 3


def test_a_missing_and_an_unreadable_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml cannot be read: no such file"):
        load_settings(tmp_path / "absent.yaml", environ={})
    with pytest.raises(ConfigurationError, match="cannot be read: is a directory"):
        load_settings(tmp_path, environ={})


def test_a_mistake_in_a_variable_names_the_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"^LANNER_SERVER__PORT server\.port must be 1–65535$"):
        load_settings(environ={"LANNER_SERVER__PORT": "0"})
    with pytest.raises(
        ConfigurationError, match="LANNER_SERVER__PROT is no setting, did you mean 'LANNER_SERVER__PORT'"
    ):
        load_settings(environ={"LANNER_SERVER__PROT": "80"})


def test_variables_that_are_no_settings_are_left_alone() -> None:
    other = {"LANNER_URL": "http://x", "LANNER_TOKEN": "t", "LANNER_SECRET_A": "b", "LANNER_GIT_DATA_TOKEN": "c"}

    assert load_settings(environ=other) == load_settings(environ={})


def test_text_that_yaml_1_1_would_turn_into_something_else_stays_text(tmp_path: Path) -> None:
    settings = load(tmp_path, "globals: {switch: on, time: 12:30, day: 2026-01-01, number: 3, flag: true}")

    assert settings.globals == {"switch": "on", "time": "12:30", "day": "2026-01-01", "number": 3, "flag": True}


def test_only_references_are_taken_as_credentials(tmp_path: Path) -> None:
    source = (
        "git:\n  sources:\n    - {name: a, url: 'https://h/a.git', namespaces: [a], auth: {type: token, token: %s}}"
    )

    assert "a literal is refused" in complaints(tmp_path, source % "abc123")[0]
    assert "abc123" not in complaints(tmp_path, source % "abc123")[0]

    settings = load(tmp_path, source % "'${env:TOKEN}'", environ={"TOKEN": "secret-value"})
    assert settings.resolve("${env:TOKEN}") == "secret-value"
    assert "secret-value" not in repr(settings)
    assert "secret-value" not in settings.model_dump_json()


def test_references_elsewhere_are_text(tmp_path: Path) -> None:
    settings = load(tmp_path, "server: {url: 'http://${env:HOME}/$HOME'}", environ={"HOME": "/root"})

    assert settings.server.url == "http://${env:HOME}/$HOME"


def test_a_file_reference_is_read_at_each_use(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("first-password\n")
    settings = load(tmp_path, f"auth: {{admin: {{username: a@example.com, password: '${{file:{secret}}}'}}}}")

    assert settings.auth.admin.password is not None
    assert settings.auth.admin.password.resolve() == "first-password"

    secret.write_text("second-password")
    assert settings.auth.admin.password.resolve() == "second-password"


def test_an_unset_variable_is_an_error_where_it_is_used(tmp_path: Path) -> None:
    settings = load(tmp_path, "auth: {admin: {username: a, password: '${env:NOT_SET}'}}")

    assert settings.auth.admin.password is not None
    with pytest.raises(ConfigurationError, match="the environment variable NOT_SET is not set"):
        settings.auth.admin.password.resolve()


def test_the_password_of_a_database_may_be_a_reference(tmp_path: Path) -> None:
    text = "database: {url: 'postgresql://lanner:${env:PGPASS}@db/lanner'}"

    assert load(tmp_path, text, environ={"PGPASS": "pw"}).database_url == "postgresql://lanner:pw@db/lanner"
    assert mask_url("postgresql://lanner:pw@db/lanner") == "postgresql://lanner:***@db/lanner"


def test_login_can_be_off_on_loopback_only(tmp_path: Path) -> None:
    assert load(tmp_path, "auth: {mode: none}\nserver: {host: '::1'}").auth.mode == "none"
    assert "loopback" in complaints(tmp_path, "auth: {mode: none}\nserver: {host: 0.0.0.0}")[0]


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c id",
        "-oProxyCommand=id",
        "http://h/a.git",
        "file:///srv/a.git",
        "https://user:pw@h/a.git",
        "ssh://-oProxyCommand=id/x",
        "https://h/a\nb",
    ],
)
def test_an_address_that_git_must_not_see_is_refused_at_load(tmp_path: Path, url: str) -> None:
    import json

    found = complaints(tmp_path, f"git: {{sources: [{{name: a, namespaces: [a], url: {json.dumps(url)}}}]}}")

    assert len(found) == 1
    assert "source 'a'" in found[0]


def test_a_list_is_given_in_a_variable_as_json_or_words() -> None:
    settings = load_settings(environ={"LANNER_TASKS__INHERIT_ENV": "PATH, LANG", "LANNER_EGRESS__ALLOW": '["a:1"]'})

    assert settings.tasks.inherit_env == ["PATH", "LANG"]
    assert settings.egress.allow == ["a:1"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("5m", 300), ("1h30m", 5400), ("7d", 604_800), ("PT5M", 300), ("P1DT1H", 90_000), ("0", 0), (0, 0)],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "5", 5, True, "P1M", "P1Y", "m5", "-5s", "5 parsecs", None])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "size"), [("1MiB", 2**20), ("512KiB", 2**19), ("10MB", 10**7), ("7", 7), (7, 7)])
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size
    assert parse_size(format_size(size)) == size


def test_every_setting_has_a_help_text_and_its_variable_works() -> None:
    listed = list(rows())

    assert [row.name for row in listed if not row.help] == []
    assert len({row.name for row in listed}) == len(listed)
    assert {row.name for row in listed} >= {"server.port", "git.sources[].url", "limits.webhook_rate", "data_dir"}


def test_the_git_section_is_what_the_sync_room_takes(tmp_path: Path) -> None:
    from sync.config import parse_git

    text = """
        git:
          allow_file_urls: true
          defaults: {poll: 2s}
          sources:
            - name: sample
              url: file:///srv/flows
              namespaces: ["company.**"]
              webhook: {provider: github, secrets: ["${env:HOOK}"]}
        """
    settings = load(tmp_path, text, environ={"HOOK": "x"})

    parsed, sources = parse_git(settings.git_section(), data_dir=tmp_path, resolve_credential=settings.resolve)

    assert parsed.allow_file_urls
    assert sources[0].poll == timedelta(seconds=2)


def test_both_rooms_know_the_same_keys_of_a_source() -> None:
    from service.settings.git import Git
    from sync import config

    def keys(model: type, at: str = "") -> set[str]:
        found = set()
        for name, field in model.model_fields.items():  # type: ignore[attr-defined]
            found.add(at + name)
            inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
            for candidate in inner:
                if hasattr(candidate, "model_fields"):
                    found |= keys(candidate, f"{at}{name}.")
        return found

    theirs = keys(config._Git) | keys(config._Source, "sources.")

    assert keys(Git) == theirs


def test_what_has_no_effect_yet_is_refused_when_changed(tmp_path: Path) -> None:
    text = "auth: {groups: {a: b}}\nflow_language: auto"

    assert complaints(tmp_path, text) == [
        "lanner.yaml:1 auth.groups has no effect in this release",
    ]


def test_every_setting_is_read_somewhere_or_listed_as_having_no_effect_yet() -> None:
    import re

    from service.settings.future import NOT_YET

    service = Path(__file__).parents[3] / "service"
    text = "".join(path.read_text() for path in service.rglob("*.py") if "settings" not in path.parts)
    unread = set()
    for row in rows():
        parent, _, leaf = row.name.rpartition(".")
        place = parent.rpartition(".")[2] or "settings"
        # `sync` reads its section by itself; both rooms know the same keys (tested above).
        if not row.name.startswith("git.") and not re.search(rf"\b(?:{place}|settings)\.{leaf}(?:_url)?\b", text):
            unread.add(row.name)

    assert unread == NOT_YET
