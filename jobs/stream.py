"""spark-submit entry point: the queries of all sources in one driver, or those that ``--only`` names."""

from __future__ import annotations

from jobs.runtime.driver import main

APP = "flowlake-stream"

if __name__ == "__main__":
    main(APP)
