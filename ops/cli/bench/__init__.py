"""``flowlake bench``: measurements that are published in docs/reference/benchmarks.md."""

from __future__ import annotations

from infra.console.options import group
from ops.cli.bench import detecting, exported, metering, storing, streaming

app = group("Benchmarks.", "flowlake bench stream --rate 50000 --json stream.json")


@app.callback()
def _group() -> None:
    """Benchmarks. Nothing has to run, and no data of yours is touched: those of the stream bring a stack of their own up in a temporary
    folder, on free ports, and remove it; those of the hot store do so with a database. Most take two to six minutes; meter and growth
    a quarter of an hour. Have 8 GB of memory and 20 GB of disk free."""


for family in (metering, detecting, exported, streaming, storing):
    app.registered_commands += family.app.registered_commands
