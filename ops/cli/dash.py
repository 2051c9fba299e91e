"""``flowlake dash`` and ``flowlake report``: the views without Grafana, as a live page and as a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from infra import config, files, log
from infra.config import Settings
from infra.console.options import ConfFile


def dash(
    host: Annotated[
        str | None, typer.Option(help="Address to serve on; any other than loopback wants FLOWLAKE_DASH__PASSWORD.", show_default=False)
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Its port; 0: a free one.", show_default=False)] = None,
    cert: Annotated[Path | None, typer.Option(help="PEM file of a certificate: the page is served over TLS.", show_default=False)] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of its private key.", show_default=False)] = None,
    conf_file: ConfFile = None,
) -> None:
    """Serve the views as a small web page, live and read-only; http://127.0.0.1:8000 unless the settings or options say otherwise.

    Examples:

      flowlake dash

      FLOWLAKE_DASH__PASSWORD=... flowlake dash --host 0.0.0.0 --cert dash.pem --key dash.key
    """
    from ops.dash.serve import serve

    settings = config.load(conf_file)
    log.setup(settings.log)
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    serve(_with(settings, given), cert, key, lambda line: print(line, flush=True))


def report(
    out: Annotated[Path, typer.Option("--out", help="The file; an old one is replaced. -: to stdout.")] = Path("report.html"),
    since: Annotated[str, typer.Option(help="From: 15m, 2h, 7d, 2w ago, or 2026-03-01T12:00 (UTC).")] = "24h",
    until: Annotated[str, typer.Option(help="To: now, 1h ago, or 2026-03-01T18:00 (UTC).")] = "now",
    sensor: Annotated[list[str] | None, typer.Option(help="Only this sensor; may be given again.", show_default=False)] = None,
    rows: Annotated[int, typer.Option(min=1, max=10_000, help="Rows of a table at most.")] = 100,
    conf_file: ConfFile = None,
) -> None:
    """Write the views and the incidents in full as one HTML file, which opens without a server and without a network.

    Examples:

      flowlake report --out report.html

      flowlake report --since 2026-03-01T12:00 --until 2026-03-01T18:00 --sensor edge-1
    """
    from ops.dash import report as pages
    from ops.dash import span

    size = pages.write(config.load(conf_file), span.read(since, until, sensor or [], names=("--since", "--until")), out, rows)
    told = sys.stderr if files.is_stdout(out) else sys.stdout
    print(f"{out}  {size / 1e6:.1f} MB", file=told)


def _with(settings: Settings, changed: Mapping[str, object]) -> Settings:
    return settings.model_copy(update={"dash": settings.dash.model_copy(update=changed)})
