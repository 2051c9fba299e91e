"""spark-submit entry point: the query ``hot`` alone. See :mod:`jobs.sinks.hot`."""

from __future__ import annotations

from jobs.runtime.driver import main

if __name__ == "__main__":
    main("flowlake-sink-hot", ("hot",))
