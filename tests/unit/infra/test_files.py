"""Files appear under their name when they are whole: old content or new, whatever goes wrong, and nothing left beside them."""

from __future__ import annotations

import ast
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infra import files
from infra.files import PartialFile

ROOT = Path(__file__).resolve().parents[3]


def test_replace_writes_text_and_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    files.replace(file, "äöü\n")
    assert file.read_bytes() == "äöü\n".encode()
    files.replace(str(file), b"\x00\xff")
    assert file.read_bytes() == b"\x00\xff"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, os.fsdecode(b"\xe9" * 255)])
def test_names_as_long_as_may_be(tmp_path: Path, name: str) -> None:
    files.replace(tmp_path / name, "x")
    assert os.listdir(tmp_path) == [name]


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("old")

    def interrupted() -> None:
        with PartialFile(file) as partial:
            partial.file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (file.read_text(), os.listdir(tmp_path)) == ("old", ["a"])


@pytest.mark.parametrize("written", [100, 1 << 20], ids=["when it is closed", "when it is written"])
def test_a_full_disk_keeps_the_old_file(tmp_path: Path, written: int) -> None:
    file = tmp_path / "a"
    file.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            files.replace(file, b"x" * written)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (file.read_text(), os.listdir(tmp_path)) == ("old", ["a"])


def test_readers_never_see_half(tmp_path: Path) -> None:
    """Threads of one process too, each with a file of its own beside the place."""
    file = tmp_path / "a"
    files.replace(file, b"0" * 100_000)
    failed: list[BaseException] = []

    def write(letter: bytes) -> None:
        try:
            for _ in range(100):
                files.replace(file, letter * 100_000)
        except BaseException as e:
            failed.append(e)

    writers = [threading.Thread(target=write, args=(letter,)) for letter in (b"1", b"2", b"3")]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        content = file.read_bytes()
        seen.add((len(content), len(set(content))))
    assert (seen, failed, os.listdir(tmp_path)) == ({(100_000, 1)}, [], ["a"])


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "a")
    files.replace(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "a").read_text() == "x"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_what_was_private_stays_so(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "a"
    file.write_text("old")
    file.chmod(mode)
    partial = PartialFile(file)
    (beside,) = (name for name in os.listdir(tmp_path) if name != "a")
    assert (tmp_path / beside).stat().st_mode & 0o777 == mode, "nor is it open to others before it has its name"
    partial.file.write(b"new")
    partial.commit()
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", mode)


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    files.replace(pipe, "through")
    assert reader.communicate()[0] == b"through"
    assert pipe.is_fifo()


def test_what_grows_is_seen_from_its_name_on(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("old")
    partial = PartialFile(file)
    partial.file.write(b"one")
    assert file.read_text() == "old"
    partial.take_name()
    assert file.read_text() == "one"
    partial.file.write(b" two")
    partial.take_name()
    assert file.read_text() == "one two"
    partial.file.write(b" three")
    partial.discard()  # of what has its name nothing is taken away
    assert (file.read_text(), os.listdir(tmp_path)) == ("one two three", ["a"])


@pytest.mark.parametrize("place", ["absent/a", "."])
def test_no_folder_and_a_folder(tmp_path: Path, place: str) -> None:
    with pytest.raises(OSError):
        files.replace(tmp_path / place, "x")
    assert os.listdir(tmp_path) == []


def test_a_vanished_folder_is_told_and_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    partial = PartialFile(tmp_path / "d" / "a")
    subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)
    with pytest.raises(FileNotFoundError):
        partial.commit()


def test_needs_the_standard_library_alone() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import infra.files, infra.errors"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)  # -S: no site-packages


def test_nobody_renames_by_hand() -> None:
    """``os.replace`` and ``Path.replace`` stand in one module; what other modules call ``replace`` takes two arguments or more."""
    found = []
    for folder in ("infra", "sensors", "jobs", "ops"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("replace", "rename"):
                    alone = len(node.args) == 1 and not node.keywords
                    if ast.unparse(node.func) in ("os.replace", "os.rename") or alone:
                        found.append(f"{file.relative_to(ROOT)}: {ast.unparse(node)}")
    assert sorted({line.split(":")[0] for line in found}) == ["infra/files.py", "infra/stack/postgres.py"], found  # a folder set aside


def test_standard_output_by_its_name_is_written_to() -> None:
    """Its real path, where it is a pipe, is no name of anything."""
    program = "from infra import files; files.replace('/dev/stdout', 'all of it')"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"all of it"
