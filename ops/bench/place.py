"""A stack for one benchmark: own ports, own folder, nobody else's data; gone afterwards. The model is the project's own."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from infra.config import Settings
from infra.errors import FlowlakeError
from infra.process import free_port
from ops.harness.place import Place, own


@contextmanager
def stack(settings: Settings) -> Iterator[tuple[Settings, Place]]:
    """Settings and place of a stack in a temporary folder; it is removed afterwards, but for the logs when a part failed."""
    folder = Path(tempfile.mkdtemp(prefix="flowlake-bench-"))
    port = free_port()
    change: dict[str, dict[str, Any]] = {
        "kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}", "topic_prefix": ""},
        "hot": {"host": "127.0.0.1", "port": port},
        "alerts": {"host": "127.0.0.1", "port": port},
        "paths": {"var": str(folder)},
        # The registry stays where it is: a benchmark does not measure training.
        "scoring": {"tracking_uri": _absolute(settings), "artifact_root": str(settings.path(settings.scoring.artifact_root))},
    }
    moved = settings.model_copy(update={s: getattr(settings, s).model_copy(update=values) for s, values in change.items()})
    where = Place(folder / "demo")
    try:
        yield own(moved, where), where
    except FlowlakeError:
        # Its message may name a log.
        for part in [*folder.iterdir(), *where.base.glob("*")]:
            if part not in (where.base, where.logs):
                shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _absolute(settings: Settings) -> str:
    from jobs.scoring.registry import tracking_uri

    return tracking_uri(settings)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    packages = ("pyspark", "delta-spark", "kafka-python", "numba", "numpy", "pyarrow")
    with open("/proc/meminfo", encoding="ascii") as f:
        memory = int(f.readline().split()[1]) >> 20
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": memory,
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
    }
