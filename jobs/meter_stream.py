"""spark-submit entry point: the query ``meter`` alone, packets to scored flows. See :mod:`jobs.metering.query`."""

from __future__ import annotations

from jobs.metering import query
from jobs.platform.driver import main

if __name__ == "__main__":
    main("flowlake-meter", {query.NAME: query.start})
