"""The documentation is complete and current: a setting, command, type or code without its place fails."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docs.generate import PAGES, REFERENCE, commands

ROOT = Path(__file__).parents[2]
PROSE = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    if ".venv" not in path.parts
)


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_current(page: str) -> None:
    assert (REFERENCE / page).read_text(encoding="utf-8") == PAGES[page](), "run make docs"


def test_every_command_and_option_has_a_help_text() -> None:
    silent = [
        f"{name} {parameter.name}"
        for name, command in commands()
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.help and parameter.name != "help"
    ]
    silent += [name for name, command in commands() if not command.help]

    assert silent == []


def test_every_code_in_the_source_is_explained() -> None:
    from service.cli.codes import CODES

    found = set()
    for room in ("namespaces", "sync", "runner", "service"):
        for path in (ROOT / room).rglob("*.py"):
            if path.name != "codes.py":
                found |= set(re.findall(r'"([FG]\d{3})"', path.read_text()))

    assert sorted(found - set(CODES)) == []


@pytest.mark.parametrize("page", PROSE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        if not path.exists():
            lost.append(target)
        elif anchor and path.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            if anchor not in slugs:
                lost.append(target)

    assert lost == []


@pytest.mark.parametrize("page", PROSE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_yaml_in_the_documentation_is_yaml(page: Path) -> None:
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        yaml.safe_load(block)


@pytest.mark.parametrize("page", PROSE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_in_the_documentation_exist(page: Path) -> None:
    known = {name for name, _ in commands()}
    groups = {name.rpartition(" ")[0] for name in known}
    unknown = []
    for match in re.finditer(r"(?:^|`|/)lanner ((?:[a-z]+ ?)+)", page.read_text(encoding="utf-8"), re.M):
        words = ("lanner " + match[1]).split()
        if not any(" ".join(words[:end]) in known | groups for end in (2, 3)):
            unknown.append(match[0])

    assert unknown == []


def test_every_example_is_listed() -> None:
    listed = (ROOT / "examples" / "README.md").read_text()

    assert [path.name for path in (ROOT / "examples").glob("*.yaml") if f"({path.name})" not in listed] == []


def test_the_plugin_in_contributing_is_the_example() -> None:
    code = (ROOT / "examples" / "plugin" / "example_plugin.py").read_text().split("\n", 2)[2].strip()
    text = re.sub(r"^   ", "", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.M)

    assert code in text


def test_no_file_names_a_package_registry() -> None:
    names = ("py" + "pi.org", "pythonhosted" + ".org", "npmjs" + ".com")
    found = []
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for path in filter(Path.is_file, (ROOT / name for name in listed.split("\0") if name)):
        text = path.read_bytes()
        found += [path.as_posix() for name in names if name.encode() in text]

    assert found == []
