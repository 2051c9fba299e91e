"""How the demo's processes speak to each other: small JSON files, replaced whole, and watching that the parent lives."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infra import files


def write(file: Path, values: Mapping[str, Any]) -> None:
    """Replace the file: a reader sees the old values or the new ones, never half of them."""
    files.replace(file, json.dumps(values))


def read(file: Path) -> dict[str, Any]:
    """What was written; empty when nothing was yet."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def end_with_parent(stop: Callable[[], None]) -> None:
    """Call ``stop`` once when the process that started this one is gone, however it ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        stop()

    threading.Thread(target=watch, name="parent", daemon=True).start()
