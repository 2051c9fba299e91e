"""One trial of the whole stream, for the demo and the benchmarks: start, send, watch until everything is accounted for, check, stop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.config import Settings
from ops.harness import accounts, driver, grouping
from ops.harness import latency as delays
from ops.harness.memory import MemoryWatch
from ops.harness.observe import Follower
from ops.harness.outcome import Now, Outcome
from ops.harness.parts import START_S, Parts
from ops.harness.place import Place, write_conf
from ops.harness.quality import judge
from ops.harness.servers import Servers
from ops.harness.stores import Stores, ids_of
from ops.harness.traffic import SEND, Traffic

#: Nothing moving for so long means that a part is stuck, seconds.
STALL_S = 180.0


class Trial:
    """One run. :meth:`run` does everything; :meth:`stop` ends what was started, whatever state it is in.

    Parameters
    ----------
    settings, where
        The demo's settings and folders (:mod:`ops.harness.place`).
    source
        What to send.
    say
        Told what happens, one line at a time.
    light
        A benchmark: stores and predictions are left alone while packets are sent.
    grace_s
        How long the stream may go on after the last packet was sent; None: as long as anything moves.
    queries
        Queries of the stream that run, by name; empty: all.
    """

    def __init__(
        self,
        settings: Settings,
        where: Place,
        source: Traffic,
        say: Callable[[str], None],
        *,
        light: bool = False,
        grace_s: float | None = None,
        queries: tuple[str, ...] = (),
    ) -> None:
        self._queries = queries
        self._light = light
        self._grace_s = grace_s
        self._asked = 0.0
        self.settings = settings
        self.place = where
        self.source = source
        self.say = say
        self.servers = Servers(settings, where)
        self.now = Now()
        self._began = time.monotonic()
        self._phases: dict[str, float] = {}
        self.parts = Parts(where)
        self._follower: Follower | None = None
        self._stores = Stores(settings)
        self._memory = MemoryWatch(self.pids, 10.0 if light else 2.0)

    def run(self, watch: Callable[[Trial], Any]) -> Outcome:
        """Everything up to the checked accounts; ``watch(self)`` gives a context manager that is called while traffic flows.

        Raises
        ------
        FlowlakeError
            A part did not start, or ended.
        """
        self.prepare()
        self.start_stream()
        self._memory.start()
        with watch(self) as refresh:
            behind = self._traffic(refresh)
        return self._account(behind)

    def prepare(self) -> None:
        """End what an interrupted run left, start afresh: servers, model and Spark side by side."""
        self.parts.stop(20)
        self.place.clear()
        write_conf(self.settings, self.place.conf)
        self.servers.start(self.say)
        self.parts.spawn("model", "ops.harness.model", str(self.parts.file("model.json")))
        self.parts.spawn("stream", "ops.harness.driver", str(self.place.run), *self._queries)
        self.parts.spawn("sensor", "ops.harness.traffic", str(self.parts.file("sensor.json")), json.dumps(vars(self.source)))

    def start_stream(self) -> None:
        """Wait for servers, model and Spark, then let the queries start and wait for the meter's first batch."""
        took: dict[str, float] = {}
        line, reached = "", 0
        deadline = time.monotonic() + START_S
        while True:
            model, stream = self.parts.state("model"), self.parts.state("stream")
            if "servers" not in took and self.servers.ready():
                self.servers.wait()
                took["servers"] = self._mark("servers")
            if "model" not in took and model.get("state") == "ready":
                took["model"] = self._mark("model")
                self.say(f"model version {model['version']}" + (" trained" if model["trained"] else " found"))
            if "spark" not in took and stream.get("state") == "warm":
                took["spark"] = self._mark("spark")
                self.say("Spark is up")
            if len(took) == 3:
                break
            if len(took) != reached:
                reached, deadline = len(took), time.monotonic() + START_S
            if model.get("state") == "training" and model["line"] != line:
                deadline = time.monotonic() + START_S
                line = str(model["line"])
                self.say(f"no model yet, training one: {line}" if not self._phases.get("training") else f"training: {line}")
                self._phases.setdefault("training", self.elapsed())
            if "model" not in took:
                self.parts.must_run("model", model)
            self.parts.must_run("stream", stream)
            self.parts.in_time(deadline, "Spark" if "spark" not in took else "the model")
            time.sleep(0.05)
        self.parts.file(driver.GO).touch()
        deadline = time.monotonic() + START_S
        while not self._first_batch():
            self.parts.must_run("stream")
            self.parts.in_time(deadline, "the stream")
            time.sleep(0.05)
        self._mark("stream")
        self.say(f"the stream runs: {', '.join(self._queries) or 'meter, alerts, hot, lake'}")

    def _first_batch(self) -> bool:
        return any((self.place.base / "checkpoints").glob("meter-v*/commits/*"))

    def _traffic(self, refresh: Callable[[], None]) -> str:
        """Send, and watch until nothing is outstanding; returns which part is behind, or nothing."""
        self._follower = Follower(self.settings, timed=self.source.timed, light=self._light)
        self._follower.start()
        self.parts.file(SEND).touch()
        self.now.phase = "sending"
        mark: tuple[Any, ...] = ()
        moved = time.monotonic()
        while True:
            sensor = self.parts.state("sensor")
            self._look(sensor)
            refresh()
            self.parts.must_run("stream")
            if sensor.get("state") == "done":
                self._mark("sent")
                self.now.phase = "accounting"
                self._follower.deepen()
                behind = self.behind()
                if not behind:
                    self._mark("accounted")
                    return ""
                if self._grace_s is not None and self.elapsed() - self._phases["sent"] > self._grace_s:
                    return behind
                progress = self._progress()
                if progress != mark:
                    mark, moved = progress, time.monotonic()
                elif time.monotonic() - moved > STALL_S:
                    return behind
            else:
                self.parts.must_run("sensor", sensor)
            time.sleep(0.25)

    def _look(self, sensor: dict[str, Any]) -> None:
        """Renew the numbers of the view."""
        assert self._follower is not None
        now = self.now
        now.seconds = self.elapsed()
        now.sent, now.share = int(sensor.get("sent", 0)), sensor.get("share")
        now.totals = dict(self._follower.totals())
        now.lag = self._follower.lag(self.place.base / "checkpoints")
        self._ask_stores()
        now.memory = self._memory.last
        if now.sent:
            self._mark("first packet")
        if now.alerts:
            self._mark("first alert")

    def _ask_stores(self) -> None:
        """Renew what the stores hold and the delays: once a second, less often where that takes long, not under a benchmark's load."""
        now, began = self.now, time.monotonic()
        if (self._light and now.phase == "sending") or began < self._asked:
            return
        now.alerts = self._stores.alerts()
        now.rows = {"hot": self._stores.hot_rows(), "lake": self._stores.lake_rows(), "alerts": len(now.alerts)}
        now.delays = self._delays()
        took = time.monotonic() - began
        self._asked = began + max(0.7, 6 * took)

    def behind(self) -> str:
        """Which part has not finished with what was sent, and how far it is; nothing when all have."""
        assert self._follower is not None
        now, total = self.now, self.now.totals
        done = total.get("metered", 0) + total.get("rejected", 0)
        if total.get("packets", 0) < now.sent or done < now.sent:
            return f"the meter: {done:,} of {now.sent:,} packets"
        if total.get("open", 0):
            return f"the meter: {total['open']:,} flows are still open"
        with self._follower.lock:
            rows, at_end = self._follower.seen.closed_rows, self._follower.seen.at_end
        flows = total.get("flows", 0)
        if rows < flows or not at_end:
            return f"predictions: {rows:,} of {flows:,} closed flows"
        for name in self._stores_written():
            if now.rows.get(name, 0) < flows and now.rows.get(name, 0) + len(self._stores.quarantined_ids()) < flows:
                return f"{name}: {now.rows.get(name, 0):,} of {flows:,} flows"
        if now.lag.get("alerts"):
            return f"alerts: {now.lag['alerts']:,} messages to read"
        return ""

    def _stores_written(self) -> tuple[str, ...]:
        """Stores of flows that a query of this run writes to."""
        return tuple(name for name in ("lake", "hot") if not self._queries or name in self._queries)

    def _progress(self) -> tuple[Any, ...]:
        now = self.now
        return (now.totals.get("packets"), now.totals.get("flows"), tuple(now.rows.items()), tuple(now.lag.items()))

    def _account(self, behind: str) -> Outcome:
        """Read everything back and compare."""
        assert self._follower is not None
        self.now.phase = "checking"
        sent = self.parts.state("sensor")
        closed = self._follower.closed()
        totals = dict(self._follower.totals())
        ids = accounts.unique([ids_of(closed["flow_id"])])
        read = {"lake": self._stores.lake_ids, "hot": self._stores.hot_ids}
        stored = {name: read[name]() for name in self._stores_written()}
        alerts = self._stores.alerts()
        incidents = self._stores.incidents()
        quarantined = self._stores.quarantined_ids()
        checks = [
            accounts.packets(int(sent["sent"]), totals.get("metered", 0), totals.get("rejected", 0), totals.get("waiting", 0)),
            accounts.counted(len(ids), totals.get("flows", 0)),
            *(accounts.flows(ids, found, name, quarantined) for name, found in stored.items()),
        ]
        truth = self._truth()
        values = [a.delay_ms for a in alerts] if self.source.timed else []
        self._mark("checked")
        return Outcome(
            source=self.source,
            sent=sent,
            totals=totals,
            closed=closed,
            checks=checks,
            alerts=alerts,
            rows={**{name: len(found) for name, found in stored.items()}, "alerts": len(alerts)},
            incidents=incidents,
            grouping=grouping.judge(alerts, closed, truth),
            detection=judge(closed, truth),
            delays=self._delays(),
            delay_values=values,
            phases=self._phases,
            memory_peak_mb=self._memory.peak,
            memory_parts_mb=self._memory.parts,
            model_version=str(self.parts.state("model").get("version", "")),
            seconds=round(self.elapsed(), 1),
            behind=behind,
            truth=truth,
        )

    def _truth(self) -> pa.Table | None:
        import pyarrow.parquet as pq

        file = Path(self.source.truth) if self.source.truth else None
        return pq.read_table(file) if file is not None and file.is_file() else None

    def _delays(self) -> dict[str, dict[str, Any]]:
        if not self.source.timed or self._follower is None:
            return {}
        broker, scored = self._follower.delays()
        rows = [a.delay_ms for a in self.now.alerts]
        stages: dict[str, Any] = {"capture -> broker": broker, "first packet -> first score": scored, "capture -> alert row": rows}
        return {name: delays.summary(values) for name, values in stages.items()}

    def stop(self, *, keep: bool = False) -> list[str]:
        """End sensor, stream and, unless ``keep``, the servers that the trial started; returns the servers that were stopped."""
        self.parts.stop(30)
        if self._follower is not None:
            self._follower.stop()
        self._stores.close()
        self._memory.stop()
        return self.servers.stop(keep=keep)

    def pids(self) -> dict[str, int | None]:
        """Process ids of all parts."""
        return {**self.servers.pids(), **self.parts.pids()}

    def elapsed(self) -> float:
        """Seconds since the trial began."""
        return time.monotonic() - self._began

    def _mark(self, phase: str) -> float:
        """Note when a phase was reached, in seconds since the start; the first time counts."""
        return self._phases.setdefault(phase, round(self.elapsed(), 2))
