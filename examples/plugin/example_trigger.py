"""A trigger type of a third party: looked at again and again, it starts the flow when it gives a map."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from runner.plugin import Dynamic, PollContext, Trigger


class Changed(Trigger):
    """Start when a file was changed since the last look."""

    type_name = "com.example.files.Changed"
    title = "Start when a file was changed since the last look."
    examples = ("id: changed\ntype: com.example.files.Changed\npath: /data/orders.csv\ninterval: PT30S",)

    path: Annotated[str, Dynamic] = Field(description="Path of the file on the server.")

    def poll(self, context: PollContext) -> Mapping[str, Any] | None:
        file = Path(self.path)
        if not file.exists():
            return None
        changed = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        if context.previous is not None and changed <= context.previous:
            return None
        return {"path": str(file), "changedAt": changed.isoformat(), "size": file.stat().st_size}
