"""Making the environment: the lock file, and errors before anything is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra import bootstrap, pythons
from infra.config import ROOT
from tests.unit.infra.test_java import fake_java


def test_lock_has_hashes_and_no_address() -> None:
    blocks = re.split(r"^(?=\S)", bootstrap.LOCK.read_text(), flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    assert not any("://" in block or "index" in block.split("==")[0] for block in blocks)


def test_this_environment_is_complete() -> None:
    assert bootstrap.complete()


def test_package_whose_files_are_gone_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata of a package is there, its code is not."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    site = tmp_path / "venv" / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
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


@pytest.mark.parametrize("version", [(3, 6, 15), (3, 9, 2), (3, 10, 12), (3, 14, 0)])
def test_other_python_is_named_in_one_line(version: tuple[int, int, int], tmp_path: Path) -> None:
    """The check runs before anything else: bootstrap under an interpreter that believes to be another."""
    done = believing(f"sys.version_info = {version}", tmp_path)
    assert done.returncode == 7
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr
    assert f"is {version[0]}.{version[1]}\n" in done.stderr
    assert "make setup PYTHON=" in done.stderr
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("belief", "words"),
    [
        ("sys.implementation.name = 'pypy'", "is pypy, for which"),
        ("import sysconfig; sysconfig.get_config_vars()['Py_GIL_DISABLED'] = 1", "without the interpreter lock"),
    ],
)
def test_python_of_another_kind_is_refused(belief: str, words: str, tmp_path: Path) -> None:
    done = believing(belief, tmp_path)
    assert done.returncode == 7
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("version", pythons.SUPPORTED)
def test_supported_python_goes_on(version: tuple[int, int], tmp_path: Path) -> None:
    """It comes as far as the next thing that can be wrong: a folder that no script could start from."""
    done = believing(f"sys.version_info = ({version[0]}, {version[1]}, 0)", tmp_path, FLOWLAKE_VENV=str(tmp_path / "a:b"))
    assert "FLOWLAKE_VENV" in done.stderr
    assert "is needed" not in done.stderr


def believing(belief: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Bootstrap run after ``belief``, a statement on ``sys``."""
    script = str(ROOT / "infra" / "bootstrap.py")
    program = f"import runpy, sys; {belief}; sys.argv[1:] = []; runpy.run_path({script!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=cwd, env=os.environ | environment)


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


def make(cwd: Path, *arguments: str, python: str | None = sys.executable, **environment: str) -> list[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "FLOWLAKE_", "PYTHON"))}
    argv = [str(shutil.which("make")), "-s", "--no-print-directory", *([f"PYTHON={python}"] if python else []), *arguments]
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
    assert make(tmp_path, "-C", str(checkout), "demo", "LAKE=s3")[1:] == [f"flowlake in {checkout}", "demo", "--lake", "s3"]


def test_make_uses_the_environment_that_setup_made(checkout: Path) -> None:
    assert make(checkout, "demo", FLOWLAKE_VENV="my env")[1] == f"mine in {checkout}"


def pretenders(folder: Path, **programs: str) -> str:
    """PATH on which only the named Pythons are, each a shell script; and what the Makefile calls besides."""
    folder.mkdir(parents=True)
    for tool in ("bash", "dirname", "sed", "printf", "cat"):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    for name, text in programs.items():
        program = folder / name.replace("_", ".")
        program.write_text(f"#!{shutil.which('bash')}\n{text}\n")
        program.chmod(0o755)
    return str(folder)


#: Starts for a question (-c), and says its name when it is to set up.
GOOD = '[ "$1" = -c ] || echo "${0##*/}"'


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ({"python3_13": GOOD, "python3": GOOD}, "python3.13"),
        ({"python3_12": GOOD, "python3_13": GOOD}, "python3.12"),
        ({"python3_11": GOOD, "python3_12": GOOD}, "python3.11"),
        ({"python3_11": "echo not chosen >&2; exit 127", "python3_12": GOOD}, "python3.12"),  # as pyenv's shims do
        ({"python3": GOOD}, "python3"),
    ],
)
def test_make_takes_a_python_that_starts(there: dict[str, str], taken: str, checkout: Path, tmp_path: Path) -> None:
    path = pretenders(tmp_path / "my bin", **there)
    assert make(checkout, "setup", python=None, PATH=path) == [taken]


def test_make_keeps_the_python_of_the_environment(checkout: Path, tmp_path: Path) -> None:
    """Who chose another one is not given the first on the path by the next command."""
    path = pretenders(tmp_path / "my bin", python3_11=GOOD)
    pretenders(tmp_path / "it's 3.13", python3_13=GOOD)
    chosen = tmp_path / "it's 3.13" / "python3.13"
    (checkout / "my env" / "pyvenv.cfg").write_text(f"home = {chosen.parent}\nexecutable = {chosen}\n")
    assert make(checkout, "setup", python=None, PATH=path, FLOWLAKE_VENV="my env") == ["python3.13"]
    assert make(checkout, "setup", "FLOWLAKE_VENV=my env", python=None, PATH=path) == ["python3.13"]
    assert make(checkout, "setup", python=None, PATH=path) == ["python3.11"]
    chosen.unlink()
    assert make(checkout, "setup", python=None, PATH=path, FLOWLAKE_VENV="my env") == ["python3.11"]


def test_make_without_a_python_says_which(checkout: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(shutil.which("make")), "-s", "setup"], cwd=checkout, env={"PATH": pretenders(tmp_path / "bin")}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "no Python 3 on PATH" in done.stderr
    assert pythons.names() in done.stderr
