"""What each rule is about (``versions.md`` 6), in a sentence for people; the rules stand beside this module."""

from __future__ import annotations

from typing import NamedTuple


class About(NamedTuple):
    """``kind``: automatic, partly or manual. ``on_1``: the result also runs on Kestra 1.3."""

    title: str
    kind: str
    change: str
    yours: str = ""
    on_1: bool = False


RULES: dict[str, About] = {
    "M01": About(
        "ForEach", "partly",
        "`flow.ForEach` becomes `flow.Loop` with `concurrencyLimit: 1` where none was written; `taskrun.value` "
        "below it "
        "becomes `item.value`, `taskrun.iteration` `item.index`, `outputs.t[taskrun.value].x` `outputs.t.x`. "
        "`outputs.t['a'].x` behind it, with the values written out, becomes a declared output of the Loop.",
        "Declare an output of the Loop and read it with `loopOutputs()`; move what acts on the whole execution behind "
        "the Loop.",
    ),
    "M02": About(
        "EachSequential, EachParallel", "partly",
        "As M01, with `value` as `values`; the tasks of an EachParallel are wrapped in a Parallel.",
        "`concurrent` counted task runs: say how many iterations may run at once.",
    ),
    "M03": About(
        "ForEachItem", "partly",
        "`storage.Split`, a `Loop` over its `uris`, and a `Subflow` in it; `taskrun.items` becomes `item.value`. "
        "Merged "
        "outputs become a declared output of the Loop and a `storage.Concat`.",
        "Read the merged outputs with `loopOutputs()`; put `errors`, `timeout` and `retry` where they belong. In flows "
        "of 0.21 `taskrun.iteration` counted from 1: write `item.index + 1`.",
    ),
    "M04": About(
        "AllowFailure in a loop", "automatic",
        "Nothing changes: with it the execution ends WARNING, with `transmitFailed: false` it would end SUCCESS.",
    ),
    "M05": About("runIf", "automatic", "`runIf` of a task is called `when`."),
    "M06": About("Condition of a check", "automatic", "`condition` of a check is called `when`."),
    "M07": About(
        "Conditions of a trigger", "partly",
        "The list of conditions becomes one `when`, joined with `and`.",
        "Write a `when` that says what was meant.",
    ),
    "M08": About(
        "Conditions of a Flow trigger", "partly",
        "One entry of `dependsOn`: flow, namespace, states and labels as they are, the rest in its `when`.",
        "Several flows are several entries of `dependsOn`.",
    ),
    "M09": About(
        "preconditions", "partly",
        "One entry of `dependsOn` for each of `flows` and of `where`. The window of the trigger starts anew.",
        "Write the filter as a `when` of the entry.",
    ),
    "M10": About(
        "MultipleCondition", "partly",
        "One entry of `dependsOn` for each member. The window of the trigger starts anew.",
        "Write an entry by hand for the member that has no counterpart.",
    ),
    "M11": About(
        "Time windows", "automatic",
        "`deadline`, `from` and `to`, `lookback`, or `every` and `offset` of `window`; `resetOnSuccess` becomes "
        "`fireOnce`.",
    ),
    "M12": About(
        "Outputs of a trigger", "partly",
        "With several entries `trigger.outputs.k` becomes `trigger.outputs.<flowId>.k`, if one flow of the files "
        "declares `k`.",
        "Say which flow's output is meant.",
    ),
    "M13": About(
        "pluginDefaults, taskDefaults", "automatic",
        "The values are written into every task, trigger, condition and task runner they were for, and the block is "
        "removed.",
        "Defaults of a namespace or server are policies in 2.x.",
        on_1=True,
    ),
    "M14": About(
        "listeners", "partly",
        "`afterExecution`, with `when` on the execution's state.",
        "Make a flow of its own with a Flow trigger.",
    ),
    "M15": About("json", "automatic", "`json(x)` becomes `fromJson(x)`, `x | json` becomes `x | toJson`.", on_1=True),
    "M16": About(
        "Inputs", "automatic",
        "`name` becomes `id`, BOOLEAN BOOL, ENUM SELECT, `options` `values`, `extension` `allowedFileExtensions`; "
        "`required: false` beside `defaults` goes.",
        "BOOL takes `true` and `false` only.",
        on_1=True,
    ),
    "M17": About(
        "Names of types", "automatic",
        "Aliases and renamed plugins get their present name; `Template` becomes `Subflow` if the flow is among "
        "the files.",
        "Make the template a flow.",
        on_1=True,
    ),
    "M18": About(
        "Removed without a substitute", "manual",
        "`execution.Count`, `execution.Resume`, `trigger.Toggle`, `git.Push`, Nashorn, `storage.LocalFiles`, "
        "`state.*`, "
        "`outputDir`.",
        "See the message.",
    ),
    "M19": About(
        "Scripts", "automatic",
        "`runner` and `docker` become `taskRunner` and `containerImage`.",
        "Keep one of the two.",
        on_1=True,
    ),
    "M20": About(
        "Spellings", "automatic",
        "`CANCELED` becomes `CANCELLED`, `maxAttempt` `maxAttempts`, `schedule.x` `trigger.x`, `minLogLevel` "
        "`logLevel`.",
        on_1=True,
    ),
    "M21": About(
        "workerGroup", "partly",
        "`workerSelector` with the key as its tag; `fallback: WAIT` is written where none was.",
        "Choose a tag of lower case letters, digits, `.` and `-`.",
    ),
    "M22": About("Version of a file", "automatic", "`version=` of `read()` and `fileURI()` becomes `revision=`."),
    "M23": About(
        "Files of ION", "partly",
        "`read(u)` alone, of a file that a task wrote as ION, becomes `fromIon(read(u), allRows=true)`.",
        "Decode the file before it is used as text.",
        on_1=True,
    ),
    "M24": About(
        "fs.local.Delete", "automatic",
        "`recursive: true` is written where it was missing, in flows of language 1.",
        on_1=True,
    ),
    "M25": About("PurgeKV", "automatic", "`expiredOnly` goes into `behavior`."),
    "M26": About(
        "Pause", "partly",
        "`delay` becomes `pauseDuration`; tasks inside a Pause stand behind it.",
        "Move the tasks behind the Pause yourself.",
        on_1=True,
    ),
    "M27": About(
        "Refused or read otherwise", "manual",
        "`outputs` of a Subflow, unanswered inputs of a Schedule, reserved flow ids, inputs of a trigger as a "
        "list, label "
        "keys that begin with no lower case letter, `is defined` and `??` over lists and maps, `secret()` with a "
        "default, `[[> ]]`.",
        "See the message.",
    ),
}  # fmt: skip


def explanation(code: str) -> str:
    """The paragraph about a rule. Raises ``KeyError``."""
    about = RULES[code]
    lines = [f"{code} {about.title} ({about.kind})", "", about.change]
    if about.yours:
        lines.append(f"What needs you: {about.yours}")
    return "\n".join(lines)
