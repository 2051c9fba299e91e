"""What the tests of blocks share: flows of these minutes, rows of the table, an nft that does nothing."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.config import Settings
from jobs.sinks import hot, postgres
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS
from tests.integration.response.conftest import INTRUDER, Site
from tests.integration.sinkbench import run
from tests.sinksdata import T0, table

#: An nft that takes everything and holds nothing: what these tests are about is the database.
FAKE = "#!/bin/sh\ncat >/dev/null\n"


def flows_now(where: Settings, hosts: int, *, answered: bool = True) -> None:
    """Flows of these minutes between :data:`INTRUDER` and hosts of ours."""
    now = (datetime.now(UTC) - T0).total_seconds() - 300
    sent = {"total_length_fwd_packets": 100, "total_length_bwd_packets": 900 if answered else 0}
    rows = [{"name": f"now{i}", "src_ip": INTRUDER, "dst_ip": f"10.1.0.{i + 1}", "at": now, **sent} for i in range(hosts)]
    with closing(postgres.connect(where.hot, "test")) as connection:
        hot.insert(connection, hot.hot_rows(table(rows), FLOWS), NETWORK_FLOWS, ("q", 0, 1, "x"))


def rows(site: Site) -> list[tuple[Any, ...]]:
    return run(site.settings.alerts, "SELECT host(address), state, asked_by, why, error FROM blocks ORDER BY asked_at")


def fake(folder: Path, text: str = FAKE) -> Path:
    """A program in place of nft."""
    program = folder / "nft"
    listed = 'case "$*" in *list*) echo "Error: No such file or directory" >&2; exit 1;; esac\n'
    program.write_text(text.replace("cat >", f"{listed}cat >"))
    program.chmod(0o755)
    return program


def any_alert(site: Site) -> str:
    return str(run(site.settings.alerts, "SELECT id::text FROM alerts LIMIT 1")[0][0])
