"""What ``flowlake meter`` does: capture files metered into a file or to standard output, and what is said of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.config import Settings
from infra.console.signals import handled
from infra.errors import CaptureError, ConfigError, FlowlakeError
from infra.names import printable
from jobs.captures.arguments import refuse_overwriting
from jobs.captures.disorder import warn
from jobs.metering.settings import MeterSettings
from sensors.packets.settings import SensorSettings

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.metering.batch import Accounts
    from sensors.packets.files import Found, Problem
    from sensors.packets.following import Follow

    #: The label of each record of a table.
    Labeller = Callable[[pa.Table], pa.Array]


@dataclass
class MeterJob:
    """What one command meters, and where to; ``out`` None is standard output."""

    settings: Settings
    found: Found
    out: Path | None
    sensor: str | None
    following: Follow | None
    pipe: Follow | None
    sort: bool
    accounts: Accounts

    @property
    def failed(self) -> list[Problem]:
        """Captures that were not read to their end."""
        return self.found.failed + self.accounts.failed

    def check(self, labels: Path | None) -> None:
        """Refuse an output that is closed, or that is read."""
        if self.out is None and sys.stdout is None:
            raise ConfigError("standard output is closed", "name a file with --out")
        refuse_overwriting(self.out, [*self.found.files, labels])

    def run(self, label: Labeller | None, tick: Callable[[Path, int, int], None]) -> int:
        """Meter everything; number of records written."""
        from jobs.metering.files import RecordWriter
        from jobs.metering.threads import ahead

        waited = self.following or self.pipe
        if self.out is None:
            with _ended(), ahead(self._batches(tick)) as records, _until_signal(waited):
                return _to_stdout(records, label)
        with (
            _ended(),
            RecordWriter(self.out, label, growing=waited is not None) as writer,
            ahead(self._batches(tick)) as records,
            _until_signal(waited),
        ):
            writer.write(records)
        return writer.rows

    def _batches(self, tick: Callable[[Path, int, int], None]) -> Iterator[pa.RecordBatch]:
        from jobs.metering.batch import meter_captures

        return meter_captures(
            self.found.files,
            sensor_id=self.sensor,
            settings=self.settings.section(MeterSettings),
            sensor=self.settings.section(SensorSettings),
            accounts=self.accounts,
            progress=tick,
            follow=self.following,
            sort=self.sort,
            pipe=self.pipe,
            keep_going=len(self.found.files) + len(self.found.failed) > 1,
        )

    def warn(self) -> None:
        """Say what was not as it should be; accounts that do not close are an error."""
        accounts = self.accounts
        if not accounts.balanced:
            raise FlowlakeError(f"accounts do not close: {accounts.packets} packets, {accounts.metered} metered, {dict(accounts.rejected)}")
        warn(accounts, self.settings.section(SensorSettings).reorder_ms, cut=self.following is None or not self.following.problem)

    def summary(self, rows: int, seconds: float) -> dict[str, Any]:
        """What was read and metered."""
        from sensors.packets.files import told

        accounts = self.accounts
        return {
            "files": len(self.found.files),
            "packets": accounts.packets,
            "metered": accounts.metered,
            "rejected": dict(sorted(accounts.rejected.items())),
            "flows": rows,
            "end_reasons": dict(sorted(accounts.end_reasons.items())),
            "truncated": accounts.truncated,
            "out_of_order": {name: disorder.summary() for name, disorder in accounts.disorder.items()},
            "skipped": told(self.found.skipped),
            "failed": told(self.failed),
            "seconds": round(seconds, 3),
        }

    def told(self, rows: int, seconds: float) -> str:
        """The same for a person, in a line."""
        accounts = self.accounts
        rejected = ", ".join(f"{n:,} {reason}" for reason, n in sorted(accounts.rejected.items()))
        # of a small capture it would tell how long the command takes to start
        rate = f" ({accounts.packets / max(seconds, 1e-9) / 1000:,.0f} kpps)" if accounts.packets >= 100_000 else ""
        where = printable(self.out) if self.out is not None else "standard output"
        return f"{rows:,} flows of {accounts.metered:,} packets{rate} -> {where}" + (f"; not metered: {rejected}" if rejected else "")


@contextmanager
def _ended() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind like SIGINT while inside, so that what is half written is removed."""

    def end(number: int) -> None:
        raise SystemExit(128 + number)

    with handled(partial(end, signal.SIGTERM), [signal.SIGTERM]), handled(partial(end, signal.SIGHUP), [signal.SIGHUP]):
        yield


@contextmanager
def _until_signal(follow: Follow | None) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the following (of a pipe: its reading), the second one the program. On leaving it ends too.

    Must be left before the stage that reads: that waits for its thread, and the thread for the file.
    """
    if follow is None:
        yield
        return

    try:
        with handled(follow.stop.set, once=True):
            yield
    finally:
        follow.abandon()


def _to_stdout(batches: Any, label: Labeller | None) -> int:
    import pyarrow as pa

    from schemas.cicflowmeter import cic_table, csv_table
    from schemas.flows import RECORD_SCHEMA

    rows = 0
    for batch in batches:
        records = pa.Table.from_batches([batch])
        table = csv_table(cic_table(records, label(records) if label else None))
        _print(table, header=rows == 0)
        rows += table.num_rows
    if rows == 0:
        _print(csv_table(cic_table(RECORD_SCHEMA.empty_table())), header=True)
    return rows


def _print(table: pa.Table, *, header: bool) -> None:
    import pyarrow.csv as pacsv

    from jobs.metering.files import reason

    options = pacsv.WriteOptions(include_header=header, quoting_style="needed", quoting_header="none")
    try:
        pacsv.write_csv(table, sys.stdout.buffer, write_options=options)
        sys.stdout.flush()  # of a file that is followed the next records may be long in coming
    except BrokenPipeError:
        raise
    except OSError as e:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer can go nowhere
        raise CaptureError(f"cannot write to standard output: {reason(e)}", "make room, or name a file with --out") from e
