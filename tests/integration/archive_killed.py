"""An archive run that is killed at a point: ``python -m tests.integration.archive_killed POINT``, settings as JSON on standard input."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from infra import config
from jobs.archiving import ledger, manifest, onemonth, parquet, removal
from jobs.archiving import run as runs
from jobs.archiving.place import ArchivePlace
from tests.archivedata import EVERYTHING

#: Point -> where it is, and at which call.
POINTS: dict[str, tuple[Any, str, int]] = {
    "while writing": (parquet.FilesWriter, "_group", 2),
    "after writing": (onemonth, "_publish", 1),
    "while reading back": (parquet, "problem", 2),
    "between two files that get their place": (ArchivePlace, "move", 2),
    "before the manifest": (manifest, "write", 1),
    "after verification": (removal, "remove", 2),
    "in the middle of deleting": (removal, "_settle", 3),
    "in the middle of dropping days": (removal, "_drop", 3),
    "before the book knows of the deletion": (ledger, "mark", 1),
}


def dying(function: Callable[..., Any], calls: int) -> Callable[..., Any]:
    left = iter(range(calls - 1, -1, -1))

    def call(*values: Any, **named: Any) -> Any:
        if not next(left):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*values, **named)

    return call


if __name__ == "__main__":
    holder, name, count = POINTS[sys.argv[1]]
    setattr(holder, name, dying(getattr(holder, name), count))
    runs.run(config.build(**json.load(sys.stdin)), [EVERYTHING], runs.Wish(), print)
