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
    files: Annotated[
        list[Path], typer.Argument(help="CSV files: network and country, or first address, last address and country; -: standard input.")
    ],
    locations: Annotated[
        Path | None, typer.Option("--locations", help="CSV file with the countries that the others have numbers of.", show_default=False)
    ] = None,
    conf_file: ConfFile = None,
) -> None:
    """Load networks and their countries into the hot store, in place of those that were there.

    Lines without a network or a country are left out, counted and shown. So are networks with bits of a host, and those that
    have another country in a line before.
    """
    from jobs.hotstore import countries
    from jobs.sinks.stores import StoreUnavailable

    try:
        found = countries.load(config.load(conf_file), files, locations, lambda text: print(text, flush=True))
    except StoreUnavailable as e:
        raise StoreError(str(e), "start it: flowlake up") from e
    again = f"; {found.repeated:,} {'was' if found.repeated == 1 else 'were'} given more than once" if found.repeated else ""
    print(f"{counted(found.networks, 'network')} loaded{again}; {counted(found.refused, 'line')} left out")
    for example in found.examples:
        print(f"  {example}")
    if found.refused > len(found.examples):
        print(f"  and {found.refused - len(found.examples):,} more")
    print("For Grafana: flowlake grafana write --into FOLDER --countries")
