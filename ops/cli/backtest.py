"""``flowlake backtest``: what another version of a model would have said of what lies in the lake."""

from __future__ import annotations

from jobs.watching.commands import backtest

__all__ = ["backtest"]
