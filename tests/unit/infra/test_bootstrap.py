"""Making the environment: the lock file, and errors before anything is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra import bootstrap
from infra.config import ROOT
from tests.unit.infra.test_java import fake_java


def test_every_direct_dependency_is_locked_in_its_version() -> None:
    direct = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", (ROOT / "requirements.in").read_text(), re.MULTILINE)
    assert len(direct) > 20
    assert {(bootstrap._plain(name), version) for name, version in direct} <= set(bootstrap.pinned().items())


def test_lock_has_hashes_and_no_address() -> None:
    blocks = re.split(r"^(?=\S)", bootstrap.LOCK.read_text(), flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    assert not any("://" in block or "index" in block.split("==")[0] for block in blocks)


def test_this_environment_is_complete() -> None:
    assert bootstrap.complete()


def test_package_whose_files_are_gone_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata of a package is there, its code is not."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    for part in ("iniconfig", f"iniconfig-{bootstrap.pinned()['iniconfig']}.dist-info"):
        shutil.copytree(next(Path(p) for p in sys.path if (Path(p) / part).is_dir()) / part, site / part)
    (tmp_path / "venv" / "bin" / "flowlake").touch()
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / "venv")
    monkeypatch.setattr(bootstrap, "PYTHON", tmp_path / "venv" / "bin" / "python")
    monkeypatch.setattr(bootstrap, "pinned", lambda: {"iniconfig": next(site.glob("iniconfig-*")).name.split("-")[1].removesuffix(".dist")})
    assert bootstrap.complete()
    shutil.rmtree(site / "iniconfig")
    assert not bootstrap.complete()


def test_venv_that_does_not_run_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.symlink_to(tmp_path / "removed-interpreter")
    monkeypatch.setattr(bootstrap, "PYTHON", python)
    assert not bootstrap.runs()


def test_old_jdk_stops_before_anything_is_installed(tmp_path: Path) -> None:
    fake_java(tmp_path / "bin", 'openjdk version "11.0.2"')
    environment = {**os.environ, "JAVA_HOME": str(tmp_path), "FLOWLAKE_VENV": str(tmp_path / "venv")}
    done = subprocess.run([sys.executable, str(ROOT / "infra" / "bootstrap.py")], capture_output=True, text=True, env=environment)
    assert done.returncode == 7
    assert "Java 11.0.2" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert not (tmp_path / "venv").exists()


def test_other_python_is_named_in_one_line(tmp_path: Path) -> None:
    """The check runs before anything else: a copy that believes to be run by Python 3.9."""
    source = (ROOT / "infra" / "bootstrap.py").read_text().replace("import sys\n", "import sys\nsys.version_info = (3, 9, 2)\n", 1)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 7
    assert "Python 3.11 is needed" in done.stderr
    assert "is 3.9" in done.stderr
    assert len(done.stderr.splitlines()) == 2


#: Of a checkout. Only a shell's own characters cannot be: the environment's scripts would not start.
ODD = "a  b it's ü, %2F (y) #1 {z}* [w]?&;=!"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in an odd folder, whose programs tell how they were called."""
    folder = tmp_path / ODD
    for part, text in {
        "infra/bootstrap.py": "import os\nprint('setup in', os.getcwd())\n",
        ".venv/bin/flowlake": '#!/bin/bash\nprintf "%s\\n" "flowlake in $PWD" "$@"\n',
        "my env/bin/flowlake": '#!/bin/bash\nprintf "%s\\n" "mine in $PWD" "$@"\n',
    }.items():
        file = folder / part
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    shutil.copy(ROOT / "Makefile", folder)
    return folder


def make(cwd: Path, *arguments: str, **environment: str) -> list[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "FLOWLAKE_"))}
    argv = ["make", "-s", "--no-print-directory", f"PYTHON={sys.executable}", *arguments]
    done = subprocess.run(argv, cwd=cwd, env=kept | {"PWD": str(cwd)} | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("how", ["there", "-C", "-f", "-f relative"])
def test_make_works_in_a_folder_of_any_name(how: str, checkout: Path, tmp_path: Path) -> None:
    options = {"there": (), "-C": ("-C", str(checkout)), "-f": ("-f", f"{checkout}/Makefile"), "-f relative": ("-f", f"{ODD}/Makefile")}[
        how
    ]
    cwd = checkout if how == "there" else tmp_path
    assert make(cwd, *options, "setup") == [f"setup in {checkout}"]
    assert make(cwd, *options, "demo")[1:] == [f"flowlake in {checkout}", "demo"]
    assert "make demo" in "\n".join(make(cwd, *options, "help"))


def test_make_demo_passes_a_capture_relative_to_the_caller(checkout: Path, tmp_path: Path) -> None:
    odd = 'my file\'s "$x" ü.pcap'
    assert make(tmp_path, "-C", str(checkout), "demo", f"PCAP={odd}")[2:] == ["demo", "--pcap", f"{tmp_path}/{odd}"]
    assert make(tmp_path, "-C", str(checkout), "demo", f"PCAP=/data/{odd}")[2:] == ["demo", "--pcap", f"/data/{odd}"]
    assert make(tmp_path, "-C", str(checkout), "demo", "IFACE=eth 0")[2:] == ["demo", "--iface", "eth 0"]


def test_make_uses_the_environment_that_setup_made(checkout: Path) -> None:
    assert make(checkout, "demo", FLOWLAKE_VENV="my env")[1] == f"mine in {checkout}"
