"""spark-submit entry point: the whole stream in one driver - meter and score, lake, hot store, alerts."""

from __future__ import annotations

from jobs.runtime.driver import Start, main
from jobs.sinks import alerts, hot, lake
from jobs.sources.packets import query as meter

APP = "flowlake-stream"
QUERIES: dict[str, Start] = {"meter": meter.start, "alerts": alerts.start, "hot": hot.start, "lake": lake.start}

if __name__ == "__main__":
    main(APP, QUERIES)
