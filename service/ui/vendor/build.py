"""Maintainers only: copies the vendored browser files out of ``node_modules`` and writes ``VENDORED.json``.

``npm install`` in a temporary folder beside a copy of package.json first, then ``python build.py <folder>``.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE.parent / "static" / "vendor"


def main(folder: Path) -> None:
    modules = folder / "node_modules"
    lock = json.loads((folder / "package-lock.json").read_text())["packages"]
    files: dict[str, tuple[str, bytes]] = {
        "htmx.min.js": ("htmx.org", _without_map((modules / "htmx.org/dist/htmx.min.js").read_bytes())),
        "icons.svg": ("lucide-static", _sprite(modules / "lucide-static/icons")),
    }
    listed = []
    for name, (package, content) in files.items():
        (OUT / name).write_bytes(content)
        entry = lock[f"node_modules/{package}"]
        listed.append(
            {
                "file": name,
                "package": package,
                "version": entry["version"],
                "licence": entry["license"],
                "source_integrity": entry["integrity"],
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
                "gzip_bytes": len(gzip.compress(content, 9, mtime=0)),
            }
        )
        text = (modules / package / "LICENSE").read_text()
        (OUT / "LICENSES" / f"{package}.txt").write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")
    (OUT / "VENDORED.json").write_text(json.dumps(listed, indent=2) + "\n")


def _without_map(script: bytes) -> bytes:
    return re.sub(rb"\n?//# sourceMappingURL=.*\s*$", b"\n", script)


def _sprite(icons: Path) -> bytes:
    symbols = []
    for name in (HERE / "icons.txt").read_text().split():
        svg = (icons / f"{name}.svg").read_text()
        body = re.sub(r"<!--.*?-->", "", svg, flags=re.S).partition("<svg")[2]
        inner = body.partition(">")[2].rpartition("</svg>")[0]
        shapes = re.sub(r"\s+", " ", inner).strip().replace(" />", "/>").replace("> <", "><")
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{shapes}</symbol>')
    return ('<svg xmlns="http://www.w3.org/2000/svg">' + "\n".join(symbols) + "</svg>\n").encode()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
