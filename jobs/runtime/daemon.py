"""The process from which Spark forks its Python workers on one machine, with everything they need imported and compiled in it.

Spark starts ``python -m <spark.python.daemon.module> pyspark.worker`` and asks it to fork a worker for each task that finds none idle;
an idle worker ends after a minute. With ``pyspark.daemon`` itself every worker imports pandas, Arrow and Numba and loads the compiled
kernels for itself: seconds of CPU, in the middle of the stream, some 150 MB each. Here that is done once, and shared. What is imported
and run is what the sources declare of which queries run (:attr:`infra.sources.Source.modules`, ``warm``); their packages and names come
in the environment, from the driver (:func:`jobs.runtime.session.jvm_environment`).

Not used on a cluster: an executor's daemon starts before the code that we ship reaches it.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import sys
from collections.abc import Sequence

from infra.sources import Source, discover, resolve
from jobs.sinks.queries import MODULES

#: glibc's M_TRIM_THRESHOLD, bytes, and M_MMAP_MAX (malloc.h): no block is mapped by itself, which would be given back when it is freed.
_TRIM, _MMAPS = (-1, 256 << 20), (-4, 0)


def keep_memory() -> None:
    """Let workers keep what they free: every batch needs tens of MB again, and each page given back is cleared by the kernel once more.

    Arrow takes its memory from the same place then: its own allocator gives back what is free for some ms.
    """
    import pyarrow as pa

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # another C library has none
    if mallopt is not None:
        mallopt(*_TRIM)
        mallopt(*_MMAPS)
        pa.set_memory_pool(pa.system_memory_pool())


def prepare(sources: Sequence[Source], modules: Sequence[str] = MODULES) -> None:
    """Import what the tasks need and warm the sources up; what fails is told, and left to the workers, which will say why."""
    for names, warm in ((modules, ""), *((source.modules, source.warm) for source in sources)):
        try:
            for name in names:
                importlib.import_module(name)
            if warm:
                resolve(warm)()
        except Exception as e:
            print(f"workers start cold: {type(e).__name__}: {e}", file=sys.stderr)
    # Not walked by the collector any more: its marks would copy the pages that are shared.
    gc.collect()
    gc.freeze()


def sources() -> Sequence[Source]:
    """Those that run, as the driver says; of an older driver all."""
    packages, _, names = os.environ.get("FLOWLAKE_WARM", "").partition(";")
    try:
        found = discover(tuple(filter(None, packages.split(",")))).sources
        return [source for source in found if not names or source.name in names.split(",")]
    except Exception as e:
        print(f"workers start cold: {e}", file=sys.stderr)
        return ()


if __name__ == "__main__":
    from pyspark.daemon import manager

    keep_memory()
    prepare(sources())
    manager()
