"""The zip of the code: complete, deterministic, nothing else in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra.config import ROOT
from infra.errors import StackError
from jobs.runtime import package


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in package.PACKAGES:
        (tmp_path / "tree" / name / "sub").mkdir(parents=True)
        (tmp_path / "tree" / name / "__init__.py").write_text("")
        (tmp_path / "tree" / name / "sub" / "a.py").write_text("A = 1\n")
        (tmp_path / "tree" / name / "sub" / "__pycache__").mkdir()
        (tmp_path / "tree" / name / "sub" / "__pycache__" / "a.py").write_text("")
        (tmp_path / "tree" / name / "notes.bin").write_text("")
    return tmp_path / "tree"


def test_same_files_same_bytes_whatever_their_times(tree: Path, tmp_path: Path) -> None:
    first = package.build(tmp_path / "out", tree)
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    for file in copy.rglob("*.py"):
        os.utime(file, (1, 1))
        file.chmod(0o600)
    assert package.build(tmp_path / "out2", copy).read_bytes() == first.read_bytes()
    assert package.build(tmp_path / "out", tree) == first


def test_a_change_gets_another_name(tree: Path, tmp_path: Path) -> None:
    first = package.build(tmp_path / "out", tree)
    (tree / "jobs" / "sub" / "a.py").write_text("A = 2\n")
    assert package.build(tmp_path / "out", tree) != first


def test_holds_modules_and_no_caches(tree: Path, tmp_path: Path) -> None:
    names = zipfile.ZipFile(package.build(tmp_path / "out", tree)).namelist()
    assert "jobs/sub/a.py" in names
    assert not [n for n in names if "__pycache__" in n or n.endswith(".bin")]


def test_missing_package_is_named(tree: Path, tmp_path: Path) -> None:
    shutil.rmtree(tree / "schemas")
    with pytest.raises(StackError, match="package schemas is not in"):
        package.build(tmp_path / "out", tree)


def test_project_runs_from_the_zip_alone(tmp_path: Path) -> None:
    """Configuration and log files are found although the code lies in no folder; relative paths are the working directory's."""
    shipped = package.build(tmp_path, ROOT)
    conf = tmp_path / "c.yaml"
    conf.write_text("spark:\n  shuffle_partitions: 7\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from infra import config; s = config.load(sys.argv[2]);"
        "print(config.__file__, s.spark.shuffle_partitions, s.path('var'))"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("FLOWLAKE_", "PYTHONPATH"))}
    out = subprocess.run(
        [sys.executable, "-c", code, str(shipped), str(conf)], capture_output=True, text=True, env=environment, cwd=tmp_path, check=True
    )
    assert out.stdout.split() == [f"{shipped}/infra/config.py", "7", str(tmp_path / "var")]
