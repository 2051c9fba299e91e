"""Whether each target has all of the lock file: uv itself, on an index that is a folder."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from infra import bootstrap, lockcheck, pythons

EVERYWHERE = [f"cp3{minor}-cp3{minor}-manylinux_2_28_{machine}" for minor in (11, 12, 13) for machine in ("x86_64", "aarch64")]


def wheel(folder: Path, tag: str, needs: str = "") -> Path:
    """A wheel of package alpha, version 1.0, with one module."""
    file = folder / f"alpha-1.0-{tag}.whl"
    info = "alpha-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("alpha.py", f"TAG = {tag!r}\n")
        z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n{needs}")
        z.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: {tag}\n")
        z.writestr(f"{info}/RECORD", f"alpha.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return file


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index without a package, and a lock file of alpha."""
    (tmp_path / "index").mkdir()
    for name, value in {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(tmp_path / "index"), "UV_CACHE_DIR": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(bootstrap, "LOCK", tmp_path / "requirements.lock")
    monkeypatch.setattr(lockcheck, "SOURCE_ONLY", {})
    return tmp_path / "index"


def lock(*files: Path) -> None:
    """Pin alpha with the hashes of these wheels."""
    hashes = [f"    --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files]
    bootstrap.LOCK.write_text(" \\\n".join(["alpha==1.0", *hashes]) + "\n")


@pytest.mark.parametrize("options", [[], ["--download"]])
def test_every_target_is_in_the_table(options: list[str], index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock(*(wheel(index, tag) for tag in EVERYWHERE))
    assert lockcheck.main(options) == 0
    out, err = capsys.readouterr()
    rows = [line.split(" | ")[:3] for line in out.splitlines()[2:]]
    assert rows == [[f"| {a}.{b}", machine, "1"] for a, b in pythons.SUPPORTED for machine in pythons.MACHINES]
    assert "6/6 Python 3.13, aarch64: 1 packages" in err


@pytest.mark.parametrize("lacking", [0, 3, 5])
def test_target_without_a_wheel_is_named(lacking: int, index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock(*(wheel(index, tag) for n, tag in enumerate(EVERYWHERE) if n != lacking))
    assert lockcheck.main([]) == 7
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    version, machine = [(v, m) for v in pythons.SUPPORTED for m in pythons.MACHINES][lacking]
    assert len(errors) == 1
    assert f"Python {version[0]}.{version[1]}, {machine}: " in errors[0]
    assert "alpha==1.0" in errors[0]


def test_file_that_differs_from_its_hash_is_found_by_downloading(index: Path) -> None:
    files = [wheel(index, tag) for tag in EVERYWHERE]
    lock(*files[:-1])
    assert lockcheck.check((3, 13), "x86_64", download=True) == 1
    with pytest.raises(lockcheck.StackError, match=r"Python 3\.13, aarch64: .*(?i:hash)"):
        lockcheck.check((3, 13), "aarch64", download=True)


def test_dependency_that_one_python_alone_needs_must_be_locked(index: Path) -> None:
    lock(wheel(index, "py3-none-any", "Requires-Dist: beta; python_version >= '3.13'\n"))
    assert lockcheck.check((3, 12), "x86_64", download=False) == 1
    with pytest.raises(lockcheck.StackError, match=r"Python 3\.13, x86_64: .*beta"):
        lockcheck.check((3, 13), "x86_64", download=False)


def test_exception_that_is_none_any_more_is_said(index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lock(wheel(index, "py3-none-any"))
    monkeypatch.setattr(lockcheck, "SOURCE_ONLY", {"alpha": "as source only"})
    assert lockcheck.stale() == ["alpha"]
    (index / "alpha-1.0-py3-none-any.whl").unlink()
    assert lockcheck.stale() == []
