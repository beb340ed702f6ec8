"""What holds for every page: checked on the text of the answer, without a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "img", "hr", "wbr", "source"}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.labels: set[str] = set()
        self.fields: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.headings = 0
        self.text: list[str] = []
        self.unsafe_forms: list[dict[str, str]] = []
        self.tokens = 0

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in pairs}
        if tag not in VOID:
            self.open.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.headings += tag == "h1"
        for name, value in attributes.items():
            if name == "style" or name.startswith(("on", "hx-on")) or name in ("hx-on", "hx-vals"):
                self.faults.append(f"<{tag} {name}={value!r}>")
            if (
                name in ("src", "href", "action", "data-live", "data-older")
                and re.match(r"\s*(//|https?:|javascript:)", value)
                and not (tag == "a" and value.startswith("https://example.com"))
            ):
                self.faults.append(f"<{tag} {name}={value!r}> leads to another origin")
        if tag == "style" or (tag == "script" and "src" not in attributes):
            self.faults.append(f"inline <{tag}>")
        if tag in ("input", "select", "textarea") and attributes.get("type") != "hidden":
            self.fields.append((" ".join(self.open[-3:]), attributes))
        if tag == "label" and "for" in attributes:
            self.labels.add(attributes["for"])
        if tag == "form" and attributes.get("method") == "post":
            self.unsafe_forms.append(attributes)
        if tag == "input" and attributes.get("name") == "csrf_token":
            self.tokens += 1

    def handle_startendtag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, pairs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
            if tag in self.open:
                while self.open and self.open.pop() != tag:
                    pass
            return
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def faults_of(html: str) -> list[str]:
    """What is wrong with a page; empty for a good one."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    faults = reader.faults
    if reader.open:
        faults.append(f"never closed: {reader.open}")
    twice = {one for one in reader.ids if reader.ids.count(one) > 1}
    if twice:
        faults.append(f"ids used twice: {sorted(twice)}")
    if reader.headings != 1:
        faults.append(f"{reader.headings} h1")
    if '<html lang="en"' not in html:
        faults.append("no language")
    if re.search(r"<title>\s*· Lanner", html):
        faults.append("no title")
    for within, field in reader.fields:
        labelled = "label" in within or field.get("id") in reader.labels or "aria-label" in field
        if not labelled:
            faults.append(f"a field without a label: {field}")
    return faults


def forms_without_token(html: str) -> int:
    """Posting forms minus tokens; the theme form changes nothing but a cookie and needs none."""
    reader = _Reader()
    reader.feed(html)
    return (
        sum(not form.get("action", "").endswith(("/theme", "/login", "/setup")) for form in reader.unsafe_forms)
        - reader.tokens
    )


def text_of(html: str) -> str:
    reader = _Reader()
    reader.feed(html)
    return " ".join(" ".join(reader.text).split())
