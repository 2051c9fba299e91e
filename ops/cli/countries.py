"""``flowlake countries``: which country a network is in, out of a GeoIP file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra import config
from infra.console.options import ConfFile, group
from infra.errors import StoreError
from infra.plurals import counted

app = group("Countries of networks, out of a GeoIP file: for the view of attacks.", "flowlake countries load dbip-country-lite.csv")


@app.callback()
def _group() -> None:
    """Countries of networks, out of a GeoIP file: for the view of attacks."""


@app.command(
    epilog="Examples:  flowlake countries load dbip-country-lite.csv   |   "
    "flowlake countries load GeoLite2-Country-Blocks-IPv4.csv --locations GeoLite2-Country-Locations-en.csv"
)
def load(
    files: Annotated[list[Path], typer.Argument(help="CSV files: network and country, or first address, last address and country.")],
    locations: Annotated[
        Path | None, typer.Option("--locations", help="CSV file with the countries that the others have numbers of.", show_default=False)
    ] = None,
    conf_file: ConfFile = None,
) -> None:
    """Load networks and their countries into the hot store, in place of those that were there.

    Lines without a network or a country are left out, counted and shown.
    """
    from jobs.hotstore import countries
    from jobs.sinks.stores import StoreUnavailable

    try:
        found = countries.load(config.load(conf_file), files, locations, lambda text: print(text, flush=True))
    except StoreUnavailable as e:
        raise StoreError(str(e), "start it: flowlake up") from e
    print(f"{counted(found.networks, 'network')} loaded; {counted(found.refused, 'line')} left out")
    for example in found.examples:
        print(f"  {example}")
    print("For Grafana: flowlake grafana write --into FOLDER --countries")
