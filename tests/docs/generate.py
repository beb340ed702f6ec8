"""Writes the generated pages of `docs/reference`: `make docs`. A test compares them with what the code says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
NOTE = "<!-- Made by `make docs` from {source}; change it there. -->\n"


def settings_page() -> str:
    from service.settings.future import NOT_YET
    from service.settings.model import Settings
    from service.settings.table import rows

    lines = [
        "# Settings",
        "",
        NOTE.format(source="service/settings"),
        "`lanner.yaml` is read from the working folder, `--config` or `LANNER_CONFIG`. Options of the command",
        "line win over environment variables, these over the file, it over the defaults. Unknown keys are errors.",
        "",
        "Durations: `60s`, `5m`, `1h30m`, `7d`, `1y` or ISO-8601. Sizes: `512KiB`, `10MiB`, `1GiB` or bytes.",
        "A *reference* is `${env:NAME}`, `${file:/path}` or `${secret:NAME}`; a credential is never written into the",
        "file itself. A list is given in a variable as JSON or as words with commas.",
    ]
    section = None
    for row in rows():
        top = row.name.partition(".")[0]
        heading = top if "." in row.name or top in ("git",) else "Top level"
        if heading != section:
            section = heading
            field = Settings.model_fields.get(top)
            doc = (
                (getattr(field.annotation, "__doc__", "") or "") if field is not None and heading != "Top level" else ""
            )
            lines += ["", f"## {heading if heading == 'Top level' else f'`{heading}`'}", ""]
            if doc:
                lines += [doc.strip().splitlines()[0], ""]
            lines += ["| Setting | Value | Default | Meaning |", "|---|---|---|---|"]
        late = " *Not in effect in this release: changing it is an error.*" if row.name in NOT_YET else ""
        lines.append(f"| `{row.name}` | {row.kind} | {row.default} | {row.help.replace('|', '/')}{late} |")
    return "\n".join(lines) + "\n"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, in the order of the help."""
    import typer

    from service.cli.app import app

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
            return
        for key, value in inner.items():
            yield from walk(f"{name} {key}", value)

    yield from walk("lanner", typer.main.get_command(app))


def cli_page() -> str:
    lines = [
        "# Command line",
        "",
        NOTE.format(source="service/cli"),
        "Commands against a server find it by `LANNER_URL`, or a context (`lanner context`), else at",
        "`http://127.0.0.1:8080`; they log in with `LANNER_TOKEN`, or `LANNER_USER` and `LANNER_PASSWORD`. Every",
        "listing takes `--json`. `lanner --install-completion` teaches your shell the commands.",
        "",
        "| Exit code | Meaning |",
        "|---|---|",
        "| 0 | done |",
        "| 1 | found, or failed |",
        "| 2 | wrong usage or configuration |",
        "| 3, 4 | `sync`: applied but Degraded; blocked by a guard, window or pin |",
        "| 74 | disk error |",
        "| 78 | a server must not start like this: one sentence says why |",
        "| 130 | interrupted |",
    ]
    for name, command in commands():
        lines += ["", f"## `{name}`", "", (command.help or "").strip(), ""]
        usage = " ".join(_usage(parameter) for parameter in command.params if parameter.name != "help")
        lines += ["```", f"{name} {usage}".strip(), "```"]
        described = [p for p in command.params if getattr(p, "help", None) and p.name != "help"]
        if described:
            lines += [""]
        for parameter in described:
            shown = " ".join(f"`{opt}`" for opt in (*parameter.opts, *parameter.secondary_opts))
            if parameter.param_type_name == "argument":
                shown = f"`{parameter.name.upper()}`"
            lines.append(f"- {shown}: {parameter.help}")
    return "\n".join(lines) + "\n"


def _usage(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        text = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
        return text if parameter.required else f"[{text}]"
    name = max(parameter.opts, key=len)
    text = name if parameter.is_flag else f"{name} {parameter.name.upper()}"
    if parameter.multiple:
        text += "..."
    return text if parameter.required else f"[{text}]"


def problems_page() -> str:
    from service.cli.codes import CODES

    lines = [
        "# Findings of validation",
        "",
        NOTE.format(source="service/cli/codes.py"),
        "What `lanner check`, a sync and the API say about a flow. `G…` comes from the reader and Git, `F…` from the",
        "flow validator; codes from 101 on are warnings and notes. `lanner check --explain CODE` prints the same.",
    ]
    for code, (title, cause, cure) in CODES.items():
        lines += ["", f"## {code}: {title}", "", f"{cause} {cure}"]
    return "\n".join(lines) + "\n"


def tasks_page() -> str:
    from namespaces.flows.catalog import Catalog

    lines = [
        "# Task, trigger and condition types",
        "",
        NOTE.format(source="the classes of namespaces/flows/types"),
        "Every type that comes with Lanner, required properties in bold. A property that may be an expression is",
        "rendered when the task starts. The properties of all tasks (`id`, `type`, `retry`, `timeout`, `allowFailure`,",
        "`when`, …) are in the [flow language](flows.md). `lanner schema` prints the JSON Schema for editors.",
    ]
    titles = {
        "flowable": "Flowable tasks",
        "task": "Tasks",
        "trigger": "Triggers",
        "condition": "Conditions",
        "runner": "Task runners",
    }
    entries = list(Catalog())
    for kind, title in titles.items():
        lines += ["", f"## {title}"]
        for entry in sorted((e for e in entries if e.kind == kind), key=lambda e: e.name):
            lines += ["", f"### `{entry.name}`", ""]
            if entry.cls.title:
                lines += [entry.cls.title, ""]
            if entry.cls.deprecated:
                lines += ["Deprecated.", ""]
            if entry.cls.aliases:
                lines += ["Also: " + ", ".join(f"`{alias}`" for alias in entry.cls.aliases), ""]
            required = {f.alias or n for n, f in entry.cls.model_fields.items() if f.is_required()}
            words = entry.described()
            if words:
                lines += ["| Property | Meaning |", "|---|---|"]
                for name in sorted(words, key=lambda one: (one not in required, one)):
                    lines.append(f"| {f'**`{name}`**' if name in required else f'`{name}`'} | {words[name]} |")
                lines.append("")
            given = entry.described(outputs=True)
            if given:
                lines += ["| Output | Meaning |", "|---|---|"]
                lines += [f"| `{name}` | {given[name]} |" for name in sorted(given)]
                lines.append("")
            for example in entry.examples:
                lines += ["```yaml", example, "```"]
    return "\n".join(lines) + "\n"


def migration_page() -> str:
    from namespaces.flows.migration import RULES

    lines = [
        "# Rules of `lanner migrate`",
        "",
        NOTE.format(source="namespaces/flows/migration/rules.py"),
        "What is done to a flow of Kestra 0.x or 1.x so that it runs on 2.x. *Automatic* rules need nobody; *partly*",
        "means that some cases need you; *manual* ones only tell. Rules with ① give what Kestra 1.3 runs too",
        "(`--keep-1`).",
        "How to use the command: [move flows to Kestra 2](../how-to/move-to-kestra-2.md).",
    ]
    for code, about in RULES.items():
        mark = " ①" if about.on_1 else ""
        lines += ["", f"## {code}", "", f"**{about.title}** ({about.kind}){mark}. {about.change}"]
        if about.yours:
            lines += ["", f"What needs you: {about.yours}"]
    lines += [
        "",
        "## proof",
        "",
        "Every edit is made twice: in the text, and in the values that were read from it. The edited text is read",
        "again; if it does not mean exactly what was intended, or is no valid flow of language 2, the file is left",
        "alone. So is a flow that `lanner check` finds errors in, but for types of plugins that are not installed.",
    ]
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    from service.limits import AT_THE_LIMIT
    from service.metrics import FAMILIES

    lines = [
        "# Metrics",
        "",
        NOTE.format(source="service/metrics.py and service/limits.py"),
        "`/metrics` gives these in Prometheus' text format, `/prometheus` the same with Kestra's names for some beside",
        "them. Both need a login with `system.read`, or come without one from `server.management_port`.",
        "",
        "| Metric | Type | Labels | Meaning |",
        "|---|---|---|---|",
    ]
    for name, family in FAMILIES.items():
        labels = ", ".join(f"`{label}`" for label in family.labels) or "–"
        lines.append(f"| `{name}` | {family.kind} | {labels} | {family.help} |")
    lines += [
        "",
        "## Limits",
        "",
        'Every limit of the [settings](settings.md) is a `lanner_limit{name="…"}` (`+Inf`: no limit) and a',
        '`lanner_limit_hits_total{name="…"}`. `executions` (of the instance, of the fullest namespace, of the fullest',
        "flow), `subprocesses` and `memory_bytes` have a `lanner_limit_used` too. What happens at each:",
        "",
        "| `name` | At the limit |",
        "|---|---|",
        *(f"| `{name}` | {answer} |" for name, answer in AT_THE_LIMIT.items()),
    ]
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "cli.md": cli_page,
    "problems.md": problems_page,
    "tasks.md": tasks_page,
    "migration.md": migration_page,
    "metrics.md": metrics_page,
}

if __name__ == "__main__":
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make(), encoding="utf-8")
        print(f"docs/reference/{name}")
