"""What is shipped to browsers: whole, licensed, small, from nowhere else."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

from service.ui import assets
from tests.service.ui.conftest import Site

STATIC = assets.ROOT
VENDOR = STATIC / "vendor"
TEMPLATES = STATIC.parent / "templates"


def weight(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9, mtime=0))


def test_vendored_files_are_those_of_the_manifest() -> None:
    listed = json.loads((VENDOR / "VENDORED.json").read_text())

    assert {one["file"] for one in listed} == {p.name for p in VENDOR.iterdir() if p.is_file()} - {"VENDORED.json"}
    for one in listed:
        content = (VENDOR / one["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == one["sha256"], one["file"]
        assert len(content) == one["bytes"]
        assert (VENDOR / "LICENSES" / f"{one['package']}.txt").read_text().strip()
        assert one["source_integrity"].startswith("sha512-")


def test_the_lock_pins_what_is_vendored() -> None:
    lock = json.loads((STATIC.parent / "vendor" / "package-lock.json").read_text())["packages"]

    for one in json.loads((VENDOR / "VENDORED.json").read_text()):
        entry = lock[f"node_modules/{one['package']}"]
        assert (entry["version"], entry["integrity"]) == (one["version"], one["source_integrity"])


def test_no_file_names_another_origin() -> None:
    for path in [*STATIC.rglob("*.js"), *STATIC.rglob("*.css"), *STATIC.rglob("*.svg"), *TEMPLATES.glob("*.html")]:
        for found in re.findall(r"https?://[^\s\"'`)<]+", path.read_text()):
            assert found.startswith("http://www.w3.org/") or "example.com" in found, f"{path.name}: {found}"


def test_sizes_stay_within_the_budget() -> None:
    own = list((STATIC / "js").glob("*.js"))

    assert weight(STATIC / "css" / "lanner.css") <= 14 * 1024
    assert sum(map(weight, own)) + weight(VENDOR / "htmx.min.js") <= 35 * 1024
    assert all(len(path.read_text().splitlines()) < 500 for path in own)


def test_scripts_and_styles_keep_the_policy() -> None:
    for path in (STATIC / "js").glob("*.js"):
        text = path.read_text()
        assert not re.search(
            r"\beval\(|new Function|setAttribute\(\s*[\"']style|\.style\b|insertRule|randomUUID", text
        ), path.name
    assert "@import" not in (STATIC / "css" / "lanner.css").read_text()
    for path in TEMPLATES.glob("*.html"):
        text = path.read_text()
        assert not re.search(r"\sstyle=|\son[a-z]+=|<style|hx-on|js:|\|\s*safe", text), path.name
        assert not re.search(r"<script(?![^>]*\ssrc=)", text), path.name


def test_every_icon_is_in_the_sprite() -> None:
    sprite = set(re.findall(r'<symbol id="([^"]+)"', (VENDOR / "icons.svg").read_text()))
    from service.ui import words

    used = {look[1] for look in [*words.STATES.values(), *words.SYNC_STATES.values()]}
    for path in TEMPLATES.glob("*.html"):
        used |= set(re.findall(r'icon\("([^"]+)"', path.read_text()))

    assert used <= sprite


def test_files_are_kept_for_a_year_under_their_own_address(site: Site) -> None:
    answer = site.client.get(assets.asset("css/lanner.css"), headers={"Accept-Encoding": "gzip"})

    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert gzip.decompress(answer.get_data()) == (STATIC / "css" / "lanner.css").read_bytes()
    assert site.client.get("/static/old/css/lanner.css").headers["Cache-Control"] == "no-store"


def test_nothing_outside_the_folder_is_served(site: Site) -> None:
    for path in ("../__init__.py", "%2e%2e/__init__.py", "css/../../site.py", "js", "nothing.js"):
        assert site.client.get(f"/static/x/{path}").status_code == 404, path


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _themes() -> dict[str, dict[str, str]]:
    css = (STATIC / "css" / "lanner.css").read_text()
    blocks = re.findall(r"color-scheme: (light|dark);(.*?)\n\s*\}", css, re.DOTALL)
    found: dict[str, dict[str, str]] = {}
    for theme, body in blocks:
        values = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", body))
        assert found.setdefault(theme, values) == values, f"the two {theme} blocks differ"
    return found


def test_colours_meet_the_contrast_of_wcag_aa_in_both_themes() -> None:
    states = ("created", "queued", "running", "paused", "retrying", "killing", "success", "warning", "failed", "killed",
              "cancelled", "skipped", "retried")  # fmt: skip
    for theme, t in _themes().items():
        for bg in ("bg", "bg2", "bg3"):
            assert contrast(t["text"], t[bg]) >= 4.5, (theme, bg)
            assert contrast(t["muted"], t[bg]) >= 4.5, (theme, bg, "muted")
            assert contrast(t["accent"], t[bg]) >= 4.5, (theme, bg, "accent")
        assert contrast(t["on-accent"], t["accent"]) >= 4.5
        assert contrast(t["control"], t["bg"]) >= 3
        for name in ("k", "str", "num", "com", "tag"):
            assert contrast(t[name], t["bg2"]) >= 4.5, (theme, name)
        for state in states:
            assert contrast(t[state], t[f"{state}-tint"]) >= 4.5, (theme, state)
            assert contrast(t[f"{state}-solid"], t["bg"]) >= 3, (theme, state)
        for state in ("failed", "warning", "success", "paused", "running", "retried", "retrying"):
            assert contrast(t[state], t["bg2"]) >= 4.5, (theme, state, "in logs")
