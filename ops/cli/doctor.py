"""``flowlake doctor``: what this machine lacks, and the command that mends each."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from infra import config, paths, pythons
from infra.console.options import ConfFile, Json
from infra.errors import FlowlakeError, one_line

if TYPE_CHECKING:
    from infra.config import Settings
    from infra.stack.local import LocalStack
    from schemas.records import RecordType

#: GiB: the whole stack in the demo stays below 6, jars and data of a demo below 2.
MEMORY_NEEDED, MEMORY_WISHED, DISK_NEEDED = 4.0, 6.0, 2.0
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One check. ``state`` is ok, missing (the stack cannot work) or warning (a part of it cannot); ``mend`` is what to do."""

    check: str
    state: str
    detail: str
    mend: str = ""


def doctor(as_json: Json = False, conf_file: ConfFile = None) -> None:
    """Check Python, JDK, jars, memory, disk, ports, capture permission and model; exit code 1 when something essential is missing.

    Example:  flowlake doctor
    """
    findings = list(examine(config.load(conf_file)))
    if as_json:
        print(json.dumps([asdict(f) for f in findings], indent=2))
    else:
        from rich.console import Console
        from rich.markup import escape

        console = Console(highlight=False, soft_wrap=True)
        marks = {"ok": "[green]ok     [/]", "warning": "[yellow]warning[/]", "missing": "[red]missing[/]"}
        for f in findings:
            console.print(f"{marks[f.state]}  {f.check:<12}{escape(f.detail)}")
            if f.mend:
                console.print(f"{'':21}-> {escape(f.mend)}")
    if any(f.state == "missing" for f in findings):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """All checks, in the order in which they matter."""
    from infra.stack.local import LocalStack

    yield check_python()
    yield check_java()
    for section in ("broker", "spark", *(("s3",) if settings.lake.path.startswith("s3") else ())):
        yield check_jars(section)
    yield check_worker_python()
    yield check_memory()
    yield check_disk(settings.path(settings.paths.var))
    yield from check_servers(LocalStack(settings))
    yield check_capture()
    yield check_filters()
    for record in scored(settings):
        yield check_model(settings, record)


def scored(settings: Settings) -> list[RecordType]:
    """Record types that need a model: those of queries that are switched off do not."""
    read = {topic.name for query in settings.catalogue.chosen(settings, ()) for topic in query.reads}
    return [record for record in settings.catalogue.records if record.features and record.topic.name in read]


def check_python() -> Finding:
    """Whether this interpreter is a supported one, and what was run on its like."""
    version = ".".join(map(str, sys.version_info[:3]))
    if refused := pythons.this():
        detail = f"{sys.executable} {refused}; Python {pythons.names()} is needed"
        return Finding("python", "missing", detail, "make setup PYTHON=/path/to/python3.11")
    state = "ok" if pythons.tried() else "warning"
    return Finding("python", state, f"{version} ({sys.executable}); {pythons.run()}")


def check_java() -> Finding:
    """A JDK that Spark and Kafka run on can be found."""
    from infra.jvm import java

    try:
        found = java.find()
    except FlowlakeError as e:
        return Finding("JDK", "missing", str(e), e.hint)
    return Finding("JDK", "ok", f"{found.version} ({found.path})")


def check_jars(section: str) -> Finding:
    """The pinned jars of a section are there, with their checksums."""
    from infra.jvm import jars

    name = f"jars {section}"
    try:
        bad, total = jars.verify(section), len(jars.section(section))
    except FlowlakeError as e:
        return Finding(name, "missing", str(e), e.hint)
    if bad:
        return Finding(name, "missing", f"{len(bad)} of {total} missing or damaged, first {bad[0].file}", "make setup")
    return Finding(name, "ok", f"{total} in {jars.folder(section)}")


def check_worker_python() -> Finding:
    """Spark's workers must run the interpreter of this environment; the session sets it unless the caller did."""
    name = os.environ.get("PYSPARK_PYTHON")
    if not name:
        return Finding("workers", "ok", f"PYSPARK_PYTHON is not set: {sys.executable} will be used")
    found = shutil.which(name)
    if found is None:
        return Finding("workers", "missing", f"PYSPARK_PYTHON={name} is no program", "unset PYSPARK_PYTHON")
    # Not resolved: a venv's interpreter is a link to the system's, and only its own path finds the venv's packages.
    if Path(found).absolute().parent != Path(sys.executable).absolute().parent:
        return Finding("workers", "warning", f"PYSPARK_PYTHON={name} is not this environment's {sys.executable}", "unset PYSPARK_PYTHON")
    return Finding("workers", "ok", f"PYSPARK_PYTHON={name}")


def check_memory() -> Finding:
    """What may still be taken suffices for the stack."""
    import psutil

    free, limit = psutil.virtual_memory().available / GIB, _cgroup_limit()
    if limit is not None:
        free = min(free, limit)
    if free < MEMORY_NEEDED:
        return Finding(
            "memory",
            "missing",
            f"{free:.1f} GiB available, {MEMORY_NEEDED:.0f} are needed",
            "end other programs, or lower spark.driver_memory",
        )
    if free < MEMORY_WISHED:
        return Finding("memory", "warning", f"{free:.1f} GiB available; the demo may take {MEMORY_WISHED:.0f}", "end other programs")
    return Finding("memory", "ok", f"{free:.1f} GiB available")


def _cgroup_limit() -> float | None:
    """What this container may still take, GiB (cgroup v2), or None without a limit."""
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii").strip()
        return (int(most) - int(used)) / GIB
    except (OSError, ValueError):
        return None


def check_disk(folder: Path) -> Finding:
    """Data can be written into ``folder``, and some of it."""
    there = folder
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding("disk", "missing", f"{there} is not writable", f"chown it, or point paths.var elsewhere (now {folder})")
    free = shutil.disk_usage(there).free / GIB
    if free < DISK_NEEDED:
        return Finding(
            "disk", "missing", f"{free:.1f} GiB free at {there}, {DISK_NEEDED:.0f} are needed", "make room, or point paths.var elsewhere"
        )
    return Finding("disk", "ok", f"{free:.1f} GiB free at {there}")


def check_servers(stack: LocalStack) -> Iterator[Finding]:
    """Whether Kafka and PostgreSQL run, can be started, or are somebody else's that let us in."""
    try:
        stack.require_startable()
        states = stack.servers()
    except FlowlakeError as e:
        yield Finding("servers", "missing", str(e), e.hint)
        return
    for state in states:
        detail = state.detail.removeprefix("(").removesuffix(")")
        if state.state == "refused":
            yield Finding(state.name, "missing", detail, state.hint)
        elif state.hint:
            yield Finding(state.name, "missing", f"{state.address}: {detail}", state.hint)
        else:
            yield Finding(state.name, "ok", _fine(state.state, state.address) + (f": {detail}" if detail else ""))


def _fine(state: str, address: str) -> str:
    port = address.rpartition(":")[2]
    told = {"remote": f"remote: {address}", "external": f"external server at {address}", "stopped": f"port {port} is free"}
    return told.get(state, f"runs on port {port}")


def check_capture() -> Finding:
    """Live capture needs a packet socket (packet(7)): root or CAP_NET_RAW."""
    if not hasattr(socket, "AF_PACKET"):
        return Finding("capture", "warning", "live capture needs Linux", "replay capture files instead: flowlake sensor replay")
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except PermissionError:
        # setcap does not follow links, and a venv's interpreter is one.
        mend = f"sudo setcap cap_net_raw+ep {os.path.realpath(sys.executable)}   (or run the sensor with sudo)"
        return Finding("capture", "warning", "no permission for live capture (CAP_NET_RAW)", mend)
    except OSError as e:
        return Finding("capture", "warning", f"no packet socket here: {e.strerror}", "replay capture files instead: flowlake sensor replay")
    return Finding("capture", "ok", "live capture is permitted")


def check_filters() -> Finding:
    """Filters of live capture are compiled by libpcap, which the wheels of ``pcapy-ng`` bring along."""
    try:
        from sensors.packets import bpf

        bpf.compile_filter("not port 22", 1)
    except (ImportError, FlowlakeError) as e:
        mend = "make setup   (where its package has no wheel, first: apt-get install g++ libpcap-dev)"
        return Finding("filters", "warning", f"libpcap does not compile filters for live capture: {e}", mend)
    return Finding("filters", "ok", "libpcap compiles filters for live capture")


def check_model(settings: Settings, record: RecordType) -> Finding:
    """Whether a champion of a record type is registered; asked of the SQLite file itself, since importing MLflow takes seconds."""
    scoring = settings.scoring
    from jobs.scoring.names import model_name

    model = model_name(settings, record)
    name = f"{model}@{scoring.alias}"
    train = record.features.train if record.features else ""
    absent = Finding("model", "warning", f"{name} is not registered yet", f"{train}; make demo makes that of flows")
    file = paths.registry_file(settings)
    if file is None:
        return Finding("model", "ok", f"{name} at {scoring.tracking_uri} (not asked)")
    if not file.is_file():
        return absent
    try:
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=2)
        try:
            row = connection.execute(
                "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?", (model, scoring.alias)
            ).fetchone()
        finally:
            connection.close()
    except sqlite3.Error as e:
        return Finding("model", "warning", f"registry {file}: {one_line(e)}", f"move {file} away; {train}")
    return Finding("model", "ok", f"{name} is version {row[0]}") if row else absent
