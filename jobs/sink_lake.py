"""spark-submit entry point: the query ``lake`` alone. See :mod:`jobs.sinks.lake`."""

from __future__ import annotations

from jobs.runtime.driver import main

if __name__ == "__main__":
    main("flowlake-sink-lake", ("lake",))
