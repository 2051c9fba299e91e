"""spark-submit entry point: the query ``meter`` alone, packets to scored flows. See :mod:`jobs.sources.packets.query`."""

from __future__ import annotations

from jobs.runtime.driver import main

if __name__ == "__main__":
    main("flowlake-meter", ("meter",))
