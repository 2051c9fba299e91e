"""Tables on a narrow terminal."""

from __future__ import annotations

from rich.console import Console

from infra.cli.tables import parts_table
from infra.stack.local import PartState


def test_addresses_are_whole_on_a_narrow_terminal() -> None:
    part = PartState(
        name="lake", state="running", detail="(alerts, hot, lake, meter)", address="/a/long/path/to/the/lake/of/flows", pid=12345
    )
    console = Console(width=80)
    with console.capture() as captured:
        console.print(parts_table([part]))
    cells = [line.split("│")[3].strip() for line in captured.get().splitlines() if line.count("│") == 7]
    assert "".join(cells) == "/a/long/path/to/the/lake/of/flows"
