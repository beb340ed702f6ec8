"""Hides secret texts in what is written down: logs, errors, messages. A seat belt, not a wall (S19).

Which texts are secret is decided elsewhere; nothing here reads or keeps them longer than the masker lives.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import threading
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "******"
"""Six stars whatever the length, as Kestra since 1.x."""

SHORTEST = 4
"""Shorter secrets are not masked: the mask would give away more than it hides."""

LONGEST = 32 * 1024
"""Longer ones (encrypted bodies of answers) are sealed where they are kept, but too long to look for in each line."""


def forms(secret: str) -> set[str]:
    """Every spelling of a secret that is looked for: plain, per line, URL, base64, hex, JSON, shell."""
    found = {secret, *(line.strip() for line in secret.splitlines())}
    for text in tuple(found):
        raw = text.encode()
        found |= {quote(text, safe=""), quote(text), quote_plus(text), raw.hex(), raw.hex().upper()}
        found |= {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], shlex.quote(text)}
        found |= _base64_forms(raw)
    return {text for text in found if len(text) >= SHORTEST}


def _base64_forms(raw: bytes) -> set[str]:
    """The characters of base64 that depend on the secret alone, for each of the three places it can start at."""
    found = set()
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            padded = encode(b"\0" * shift + raw).decode()
            text = padded.rstrip("=")
            first = (0, 2, 3)[shift]
            whole = (shift + len(raw)) * 8 // 6
            part = text[first:whole]
            if len(part) >= 6:
                # Where the secret ends the text, its last character and the padding are certain too.
                found |= {part, text[first:], padded[first:]}
    return found


class Masker:
    """Replaces known secrets in texts. Safe to use from several threads; ``add`` may come at any time."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._secrets: set[str] = set()
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Mask these as well from now on; very short and very long ones are left out."""
        new = [s for s in secrets if SHORTEST <= len(s) <= LONGEST and s not in self._secrets]
        if not new:
            return
        with self._lock:
            self._secrets.update(new)
            for secret in new:
                self._forms |= forms(secret)
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    @property
    def secrets(self) -> frozenset[str]:
        return frozenset(self._secrets)

    def mask(self, text: str) -> str:
        """The text with every known secret replaced."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def mask_value(self, value: Any) -> Any:
        """A value of maps, lists and scalars with its texts masked; keys too."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, dict):
            return {self.mask(k) if isinstance(k, str) else k: self.mask_value(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.mask_value(item) for item in value]
        return value


class MaskedStream:
    """Masks a text that comes in pieces: a secret across the border of two pieces is found as well."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._kept = ""

    def feed(self, piece: str) -> str:
        """What may be written now; the last characters wait, since a secret may go on in the next piece."""
        text = self._kept + piece
        keep = max((len(form) for form in self._masker._forms), default=1) - 1
        pattern = self._masker._pattern
        if pattern is None or keep <= 0:
            self._kept = ""
            return text
        cut = max(0, len(text) - keep)
        for match in pattern.finditer(text):
            if match.start() < cut < match.end():
                cut = match.start()
                break
        self._kept = text[cut:]
        return self._masker.mask(text[:cut])

    def end(self) -> str:
        """The rest."""
        text, self._kept = self._kept, ""
        return self._masker.mask(text)
