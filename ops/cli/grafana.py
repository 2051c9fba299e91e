"""``flowlake grafana``: files for Grafana and Prometheus, made from the views and rules that are declared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from infra import config
from infra.console.options import ConfFile, group
from infra.errors import ConfigError

app = group("Grafana and Prometheus: dashboards, data sources, rules.", "flowlake grafana write --into /etc/flowlake")


@app.callback()
def _group() -> None:
    """Grafana and Prometheus: dashboards, data sources, rules."""


@app.command(epilog="Examples:  flowlake grafana write --into /etc/flowlake   |   flowlake grafana write --into etc --countries")
def write(
    into: Annotated[Path, typer.Option(help="Folder that is written: grafana/ and prometheus/ in it.", metavar="FOLDER")],
    countries: Annotated[
        bool, typer.Option("--countries", help="With a panel of sources by country: a GeoIP file has been loaded.")
    ] = False,
    conf_file: ConfFile = None,
) -> None:
    """Write dashboards, data sources and alert rules for Grafana, and rules for Prometheus, of all record types that there are.

    No secret is in the files: they name variables that Grafana needs in its environment.
    """
    from infra.files import replace
    from ops.grafana.files import VARIABLES, files, left

    settings = config.load(conf_file)
    made = files(settings.catalogue.records, countries=countries)
    for name, content in made.items():
        try:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            replace(into / name, content)
        except OSError as e:
            raise ConfigError(f"--into {into}: {name} cannot be written: {e.strerror or e}", "name a folder that you may write") from e
        print(into / name)
    for path in left(into, made):
        print(f"{path}: of before, no view is called so now; remove it", file=sys.stderr)
    print(f"Grafana needs in its environment: {', '.join(VARIABLES)}", file=sys.stderr)
