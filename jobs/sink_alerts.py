"""spark-submit entry point: the query ``alerts`` alone. See :mod:`jobs.sinks.alerts`."""

from __future__ import annotations

from jobs.runtime.driver import main

if __name__ == "__main__":
    main("flowlake-sink-alerts", ("alerts",))
