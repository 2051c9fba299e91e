"""spark-submit entry point: the query ``hot`` alone. See :mod:`jobs.sinks.hot`."""

from __future__ import annotations

from jobs.sinks import hot
from jobs.sinks.main import main

if __name__ == "__main__":
    main("flowlake-sink-hot", hot.start)
