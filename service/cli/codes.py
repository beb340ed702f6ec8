"""What each finding code means and how to cure it: `lanner check --explain` and `docs/reference/problems.md`.

A test looks for codes in the source that have no entry here.
"""

from __future__ import annotations

from namespaces.errors import NotFound, did_you_mean

# code: (what it is, how it comes about, what cures it)
CODES: dict[str, tuple[str, str, str]] = {
    "G001": ("YAML syntax", "The file is not YAML.", "Correct the place named; an editor with YAML support shows it."),
    "G002": ("Encoding", "The file is not UTF-8, or holds control characters.", "Save it as UTF-8 without them."),
    "G003": ("Duplicate key", "A mapping has the same key twice; which one is meant is a guess.", "Remove one."),
    "G004": (
        "Unreadable value",
        "A date or number cannot be read as what its place wants.",
        "Write it as the message says.",
    ),
    "G005": ("Tag not allowed", "The YAML uses a tag such as `!!python/…`.", "Write plain values."),
    "G006": (
        "YAML limits",
        "Nesting, aliases or nodes go over the limits, which a server needs to stay up.",
        "Make the file smaller, or several flows of it.",
    ),
    "G010": ("Namespace mismatch", "The `namespace` in the file is not the one of its folder.", "Make them equal."),
    "G011": (
        "Namespace rewritten",
        "The `namespace` in the file differs from its folder, and the folder decides.",
        "Make them equal, or remove the line.",
    ),
    "G012": (
        "Duplicate identity",
        "Two files of the repository hold a flow with this namespace and id; neither wins.",
        "Rename or remove one of them.",
    ),
    "G013": (
        "Owned by another",
        "The flow belongs to another source or was made through the API.",
        "Remove it there, or set `apply.adopt: true` for flows of the API.",
    ),
    "G014": ("Several documents", "The file holds more than one YAML document.", "One flow a file."),
    "G015": (
        "No id",
        "The flow has no `id`, or a malformed one.",
        "Give it an id of letters, digits, `-`, `_` and `.`.",
    ),
    "G020": (
        "Flow not valid",
        "The flow does not fit the language; the detail has a code of its own.",
        "See the detail's code.",
    ),
    "G021": (
        "Layout changed",
        "The files no longer fit the layout that the first sync found.",
        "Restore the layout, or set `layout` in the source.",
    ),
    "G022": ("Ambiguous folder", "A namespace is given both as `a.b/` and as `a/b/`.", "Use one form."),
    "G023": ("Names clash", "Two paths differ only by case or by Unicode form.", "Rename one."),
    "G031": ("Symbolic link", "Links are never followed.", "Put the file itself into the repository."),
    "G032": ("Submodule", "Submodules are not fetched.", "Put the files into this repository."),
    "G033": ("Unsupported mode", "The entry is neither a file nor a folder.", "Remove it."),
    "G034": (
        "Too large",
        "A file or the tree goes over a limit of the source.",
        "Make it smaller, or raise `limits` of the source.",
    ),
    "G035": ("LFS pointer", "The file is a pointer of Git LFS; its content is not fetched.", "Commit the content."),
    "G036": ("Unsafe path", "The path holds `..`, `.git` or other names that are not safe.", "Rename it."),
    "G040": (
        "Namespace not allowed",
        "The source may not write this namespace.",
        "Move the flow, or let an operator extend `namespaces` of the source.",
    ),
    "G041": (
        "Repository widens its rights",
        "A file tries to allow more than the server's configuration does.",
        "Remove that; only operators may give rights.",
    ),
    "G042": (
        "Signer not allowed",
        "The commit is not signed by an allowed key.",
        "Sign it, or let an operator add the key.",
    ),
    "G043": (
        "Over quota",
        "A quota or `allowed_tasks` of the namespace forbids it.",
        "Remove it, or ask the namespace's owner.",
    ),
    "G044": ("Folder not allowed", "The namespace's folder is not under `allowed_parents`.", "Move it."),
    "G050": (
        "Secret not readable",
        "A secret of the repository cannot be decrypted.",
        "Encrypt it for the server's key.",
    ),
    "G060": (
        "Unresolved reference",
        "A flow that is called or listened to does not exist.",
        "Correct the name, or add that flow.",
    ),
    "G061": ("Held by another", "The item is fine, but another one it belongs with is not.", "Correct that other one."),
    "G062": (
        "Delete guard",
        "More would be deleted than the guard lets through.",
        "Look at the plan, then approve it with `lanner sync NAME --approve HASH`.",
    ),
    "G101": ("File name", "The file's name is not the flow's id.", "Rename the file."),
    "G102": ("Empty file", "The file holds nothing, and is left out.", "Remove it."),
    "G103": ("Byte order mark", "The file begins with a byte order mark.", "Save it without."),
    "G104": ("CODEOWNERS drift", "CODEOWNERS and the namespaces' owners differ.", "Make them agree."),
    "G105": ("Plain secret", "A value looks like a password or key.", "Use `{{ secret('NAME') }}`."),
    "G106": ("Bidirectional text", "Invisible characters change the order in which text is shown.", "Remove them."),
    "F001": ("Not a flow", "The document is not a mapping with id, namespace and tasks.", "Write these three."),
    "F002": (
        "Invalid type",
        "No task, trigger or input type has this name, or it is one of another kind.",
        "Use the name that is suggested; `lanner schema` has all.",
    ),
    "F003": ("Unknown property", "The type has no such property.", "Use the name that is suggested, or remove it."),
    "F004": ("Missing property", "A property that is required is missing or empty.", "Add it."),
    "F005": (
        "Value out of bounds",
        "A value does not match its pattern, length or range.",
        "Change it as the message says.",
    ),
    "F006": (
        "Duplicate task id",
        "Two tasks of the flow have the same id.",
        "Rename one; ids are unique in the whole flow.",
    ),
    "F007": ("Duplicate id", "Two triggers, inputs, outputs or preconditions have the same id.", "Rename one."),
    "F008": ("Recursive call", "A Subflow task calls its own flow.", "Call another flow, or use a loop."),
    "F009": ("Reserved flow id", "The id is a word that the API uses in its addresses.", "Choose another."),
    "F010": (
        "Input dependency",
        "An input depends on one that does not exist, or on itself in a circle.",
        "Correct `dependsOn`.",
    ),
    "F011": ("System label", "Labels that begin with `system.` belong to the server.", "Choose another key."),
    "F012": ("Dag", "A task depends on one that does not exist, or on itself in a circle.", "Correct `dependsOn`."),
    "F013": ("Block without tasks", "A block has no tasks, or holds one that it may not.", "See the message."),
    "F014": ("Retry bounds", "The bounds of a retry contradict each other.", "Correct them as the message says."),
    "F015": ("Schedule", "The cron expression or time zone cannot be read.", "Five fields, or six with `withSeconds`."),
    "F016": ("Pattern", "A regular expression cannot be read.", "Correct it."),
    "F017": ("Array of arrays", "The items of an ARRAY input cannot be ARRAY.", "Use a JSON input."),
    "F018": ("Time window", "Properties of the time window are missing or do not belong together.", "See the message."),
    "F019": ("Filter", "A filter of a precondition has no value.", "Give it one."),
    "F020": ("Key with a dash", "`inputs.my-key` means a subtraction.", "Write `inputs['my-key']`."),
    "F023": ("No tasks", "The flow has no tasks.", "Add one."),
    "F024": ("Choices", "A SELECT or MULTISELECT input needs `values` or `expression`, and not both.", "Give one."),
    "F025": ("SLA or check", "A property that this kind of SLA or check needs is missing.", "Add it."),
    "F026": ("Trigger", "Properties of the trigger contradict each other.", "See the message."),
    "F027": ("Nested input", "An input of FORM, OBJECT or TABLE holds what it may not.", "See the message."),
    "F028": ("Wrong type", "A value has another type than its property.", "Write it as the message says."),
    "F029": ("Too many", "The flow has more tasks or inputs than a server takes.", "Make several flows of it."),
    "F030": ("Two names", "A property is given under its old and its new name.", "Keep the new one."),
    "F031": ("Input property", "A property of the input does not fit its type.", "See the message."),
    "F032": ("Plugin default", "A plugin default is not of the form `{type, values}`.", "Correct it."),
    "F033": (
        "Other version",
        "`strict` refuses what belongs to the other version of the language.",
        "`lanner migrate` writes it in version 2; the message names the rule, which `--explain` explains too.",
    ),
    "F034": ("Input in a value", "An input `a` is a value, and another is called `a.b`.", "Rename one."),
    "F035": (
        "Forbidden by a policy",
        "A policy of the server (setting `policies`) denies, restricts or requires something here.",
        "Follow its message, or ask who operates the server.",
    ),
    "F101": ("Deprecated", "A name or property is old; it still works.", "Use the one that is named."),
    "F102": ("Templates", "Templates of old servers are not available; the task fails when it runs.", "Use a subflow."),
    "F103": (
        "Trigger on everything",
        "A Flow trigger without conditions starts after every execution.",
        "Add conditions.",
    ),
    "F104": ("Never fires", "No date matches the cron expression.", "Correct it."),
    "F105": (
        "Default and not required",
        "`defaults` with `required: false`: Kestra refuses it since 1.0.",
        "Remove one.",
    ),
    "F106": ("Label", "A label's key or value is dropped or changed.", "See the message."),
    "F107": (
        "Short webhook key",
        "A short or readable key can be guessed or read in Git.",
        "Use a long random key, or `{{ secret('NAME') }}`.",
    ),
    "F108": (
        "Retry without a pause",
        "Attempts would follow one another at once; 100 ms are left between them.",
        "Give an interval.",
    ),
    "F109": ("Default without a task", "No task of the flow has the type of this plugin default.", "Remove it."),
    "F110": (
        "Expression",
        "An expression cannot be read, or is too long: the task that renders it will fail.",
        "Correct it.",
    ),
    "F111": (
        "File in a schedule",
        "A schedule reads files, which do not exist before an execution.",
        "Read them in a task.",
    ),
    "F112": (
        "Unknown name",
        "An expression uses a function, filter or argument that does not exist: rendering it will fail.",
        "Correct the name; `docs/reference/expressions.md` lists them.",
    ),
    "F113": (
        "Schedule without inputs",
        "A scheduled flow has an input without `defaults` that the trigger does not give. Kestra 2 refuses it.",
        "Give it in `inputs` of the trigger, or give it `defaults`.",
    ),
    "F114": (
        "Cache on a block",
        "`taskCache` stands on a task that holds other tasks, where it has no effect.",
        "Put it on the tasks inside.",
    ),
    "F116": (
        "Fires every second",
        "Executions that take longer than a second pile up (`allowConcurrent: true`) or are waited for.",
        "Take a wider interval, or limit the flow's `concurrency`.",
    ),
    "F117": (
        "Unknown policy",
        "`policyRefs` names a policy that this server does not have: it is ignored.",
        "Correct the name, or have the policy configured.",
    ),
    "F118": (
        "Policy",
        "A policy that only warns (`action: warn`, or `enforcement: EVALUATE`) does not hold.",
        "Follow its message.",
    ),
    "F202": ("Disabled", "The flow is disabled; it can be read, not started.", "Remove `disabled` to use it."),
    "F203": (
        "Lanner only",
        "A property is Lanner's own: a Kestra server refuses the flow.",
        "Nothing, unless you use both.",
    ),
    "F204": (
        "All end states",
        "Without `states` a Flow trigger listens to all end states and to PAUSED.",
        "List the states.",
    ),
    "F205": (
        "Day of month or week",
        "The schedule fires when either field matches; some crons mean both.",
        "Use one of them.",
    ),
}


def explanation(code: str) -> str:
    """The paragraph about a code, or about a rule of `lanner migrate`. Raises ``NotFound``."""
    from namespaces.flows.migration import rules

    wanted = code.upper()
    if wanted in rules.RULES:
        return rules.explanation(wanted)
    if wanted not in CODES:
        raise NotFound(f"there is no code '{code}'{did_you_mean(wanted, (*CODES, *rules.RULES))}")
    title, cause, cure = CODES[wanted]
    return f"{wanted} {title}\n\n{cause}\n{cure}"
