"""Every way to read the lake that is shown ends with exit code 0, as a program of its own that ends right after reading.

``FLOWLAKE_LAKE_RUNS=100`` lets ``make test-long`` run each way so many times (20 without). What goes wrong without Arrow's own file systems
(:mod:`jobs.runtime.lake`) is a race: once in some ten to a hundred runs.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from infra import config
from infra.config import ROOT
from infra.sections import LakeSettings
from infra.stack.s3 import ObjectStore
from jobs.runtime.s3 import storage_options, uri
from jobs.sinks.parquet import lake_rows
from ops.demo import report
from ops.harness import place
from schemas.packets import FLOWS
from tests.sinksdata import table

pytestmark = pytest.mark.integration

PAGE = (ROOT / "docs" / "how-to" / "query-the-stores.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
RUNS, MANY_RUNS = 2, int(os.environ.get("FLOWLAKE_LAKE_RUNS", "20"))
#: A file a day: the more files, the more Arrow's threads have to put away at the end.
DAYS = 60
#: Methods of a table of delta-rs that read through Arrow.
READS = ("to_pyarrow_dataset", "to_pyarrow_table")
#: Put before a program: reading through a file system made in Python is an error.
NO_PYTHON_FILES = """
import pyarrow.fs
class PyFileSystem:
    def __init__(self, handler):
        raise AssertionError(f"read through {type(handler).__name__}, which is Python")
pyarrow.fs.PyFileSystem = PyFileSystem
"""
#: As notebooks ask.
ENGINE = """
from infra import config
from jobs.asking.engine import Engine
engine = Engine(config.load())
print(engine.ask("SELECT attack_type, count(*) AS flows FROM flows GROUP BY ALL ORDER BY ALL").read_all().to_pylist())
engine.close()
"""


def many_rows() -> pa.Table:
    """A row a day."""
    return lake_rows(
        table([{"name": day, "at": day * 86_400, "attack_type": ("BENIGN", "SYN_SCAN")[day % 2]} for day in range(DAYS)]), FLOWS
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the lake where the documentation has it."""
    made = tmp_path_factory.mktemp("readers")
    (made / "var" / "lake").mkdir(parents=True)
    write_deltalake(str(made / "var/lake/flows"), many_rows(), partition_by=["event_date"])
    return made


def demo_line() -> list[str]:
    """What a demo says in the end about how to ask its lake; without the interpreter."""
    lines = dict(report.queries(config.build(), place.Place(Path("var/demo"))))
    return shlex.split(lines["lake"])[1:]


WAYS: dict[str, list[str]] = {
    **{f"snippet-{number}": ["-c", text] for number, text in enumerate(SNIPPETS)},
    "demo": demo_line(),
    "engine": ["-c", ENGINE],
    "flows": ["-m", "ops.cli.main", "flows", "--json"],
    "sql": ["-m", "ops.cli.main", "sql", "SELECT attack_type, count(*) FROM flows GROUP BY ALL"],
}


def run(folder: Path, arguments: list[str], more: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"FLOWLAKE_HOME": str(folder), "PYTHONPATH": str(ROOT)} | (more or {})
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("runs", [RUNS, pytest.param(MANY_RUNS, marks=[pytest.mark.long, pytest.mark.timeout(60 + 10 * MANY_RUNS)])])
@pytest.mark.parametrize("way", WAYS)
def test_each_run_reads_the_rows_and_ends_well(folder: Path, way: str, runs: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: run(folder, WAYS[way]), range(runs)))
    assert Counter((d.returncode, d.stderr) for d in done) == {(0, ""): runs}
    # Groups of the same size come in any order.
    assert len({tuple(sorted(d.stdout.splitlines())) for d in done}) == 1
    assert re.search(rf"SYN_SCAN|\b{DAYS}\b", done[0].stdout)


@pytest.mark.parametrize("name", [name for name, arguments in WAYS.items() if arguments[0] == "-c"])
def test_nothing_is_read_through_a_file_system_made_in_python(folder: Path, name: str) -> None:
    done = run(folder, ["-c", NO_PYTHON_FILES + WAYS[name][1]])
    assert (done.returncode, done.stderr) == (0, "")


def test_a_lake_on_s3_is_read_by_arrows_own_client(s3_server: ObjectStore, folder: Path) -> None:
    s3_server.create_bucket("readers")
    store = LakeSettings(**s3_server.lake("readers"))
    write_deltalake(uri(store.path), many_rows(), partition_by=["event_date"], storage_options=storage_options(store))
    keys = {
        "FLOWLAKE_LAKE__PATH": store.path,
        "FLOWLAKE_LAKE__S3_ENDPOINT": store.s3_endpoint,
        "FLOWLAKE_LAKE__S3_ACCESS_KEY": store.s3_access_key.get_secret_value(),
        "FLOWLAKE_LAKE__S3_SECRET_KEY": store.s3_secret_key.get_secret_value(),
    }
    text = f"from ops.cli.main import main\nmain(['flows', '--limit', '{2 * DAYS}', '--json'])"
    done = [run(folder, ["-c", NO_PYTHON_FILES + text], keys) for _ in range(RUNS)]
    assert Counter((d.returncode, d.stderr, len(json.loads(d.stdout or "[]"))) for d in done) == {(0, "", DAYS): RUNS}


def calls_of_delta_rs() -> Iterator[tuple[str, ast.Call]]:
    """Where the code asks a Delta table for Arrow, by file and line."""
    for folder in ("infra", "jobs", "notebooks", "sensors"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READS:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def test_the_code_gives_delta_rs_a_file_system() -> None:
    """The same for what has no snippet: training from a lake, the demo's own accounts."""
    found = list(calls_of_delta_rs())
    assert found
    assert [where for where, call in found if "filesystem" not in {k.arg for k in call.keywords}] == []
