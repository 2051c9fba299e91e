"""``flowlake drift``: whether what the models are served is still what they know."""

from __future__ import annotations

from jobs.watching.commands import drift

__all__ = ["drift"]
