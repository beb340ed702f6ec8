"""A bounded, thread-safe cache by text: least recently used goes first, by number and by characters."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class TextCache(Generic[Value]):
    """At most ``entries`` values for texts of at most ``characters`` together."""

    def __init__(self, *, entries: int, characters: int) -> None:
        self._entries = entries
        self._characters = characters
        self._size = 0
        self._found: OrderedDict[str, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: str) -> Value | None:
        with self._lock:
            value = self._found.get(text)
            if value is not None:
                self._found.move_to_end(text)
            return value

    def put(self, text: str, value: Value) -> None:
        if len(text) > self._characters // 8:
            return
        with self._lock:
            if text not in self._found:
                self._size += len(text)
            self._found[text] = value
            while len(self._found) > self._entries or self._size > self._characters:
                oldest, _ = self._found.popitem(last=False)
                self._size -= len(oldest)

    def __len__(self) -> int:
        return len(self._found)
