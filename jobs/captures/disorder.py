"""What commands that meter capture files say of packets that were cut off or came too late."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.metering.batch import Accounts


def warn(accounts: Accounts, reorder_ms: int, *, cut: bool = True) -> None:
    """Name the files whose end is missing (unless ``cut`` is False), and those whose packets lay more than ``reorder_ms`` out of order."""
    for name in accounts.truncated if cut else ():
        print(f"warning: {name}: cut or damaged; everything before that is metered", file=sys.stderr)
    for name, disorder in accounts.disorder.items():
        print(f"warning: {name}: {disorder.told(reorder_ms)}", file=sys.stderr)
