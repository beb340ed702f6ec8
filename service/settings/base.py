"""What every section of the configuration shares: frozen values, unknown keys are errors."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping of `lanner.yaml`."""

    # defer_build: a schema is made when it is first used, which keeps `import service.settings` cheap.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, hide_input_in_errors=True)
