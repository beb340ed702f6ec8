"""The configuration: `lanner.yaml`, environment, options. Other rooms get values, never this."""

from __future__ import annotations

from service.settings.load import load_settings
from service.settings.model import Settings, is_loopback
from service.settings.values import Credential

__all__ = ["Credential", "Settings", "is_loopback", "load_settings"]
