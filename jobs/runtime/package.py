"""The code of the project as one zip, for a cluster's Python path."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

from infra import files
from infra.config import ROOT
from infra.errors import StackError

#: Packages that jobs need on a cluster.
PACKAGES = ("jobs", "sensors", "schemas", "infra")
#: Files of a package that are read at run time beside its modules.
SUFFIXES = (".py", ".properties", ".txt", ".xml", ".sql", ".json", ".yaml", ".html")
#: The earliest time a zip entry can have: the same files give the same bytes, whenever and wherever they are packed.
EPOCH = (1980, 1, 1, 0, 0, 0)


def build(folder: Path, root: Path = ROOT, sources: Sequence[str] = ()) -> Path:
    """Write ``flowlake-<hash of the content>.zip`` into a folder and return its path; an equal one that is there is kept.

    Parameters
    ----------
    folder : Path
        Made if missing.
    root : Path
        Where the packages lie.
    sources : sequence of str
        Packages of sources (``sources.packages``), wherever Python finds them; those that lie in ours anyway are no further work.

    Raises
    ------
    StackError
        The folder cannot be written, or a package is missing.
    """
    content = contents(root, sources)
    path = folder / f"flowlake-{hashlib.sha256(content).hexdigest()[:12]}.zip"
    try:
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            files.replace(path, content)
    except OSError as e:
        raise StackError(f"{path} cannot be written: {e.strerror}", "set FLOWLAKE_HOME to a folder that can be") from e
    return path


def contents(root: Path, sources: Sequence[str] = ()) -> bytes:
    """The zip as bytes: sorted names, fixed times and modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in PACKAGES:
            if not (root / package / "__init__.py").is_file():
                raise StackError(f"package {package} is not in {root}", "run from a complete copy of the project")
            _add(archive, root / package, package)
        for name in sorted({name for name in sources if name.partition(".")[0] not in PACKAGES}):
            # Packages above it, which may be folders without a module: a zip is imported from only where they are named in it.
            parts = name.split(".")
            for depth in range(1, len(parts)):
                _entry(archive, f"{'/'.join(parts[:depth])}/", b"")
                if init := _init_of(".".join(parts[:depth])):
                    _entry(archive, f"{'/'.join(parts[:depth])}/__init__.py", init)
            for folder in _folders_of(name):
                _add(archive, folder, name.replace(".", "/"), every=True)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, folder: Path, name: str, *, every: bool = False) -> None:
    """Files of a folder; ``every``: whatever their kind, as nobody knows what a source reads. What is hidden, or a link, stays."""
    if every:
        _entry(archive, f"{name}/", b"")
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if any(part.startswith(".") or part == "__pycache__" for part in inside.parts) or file.is_symlink():
            continue
        if file.is_dir() and every:
            _entry(archive, f"{name}/{inside.as_posix()}/", b"")
        elif file.is_file() and (every or file.suffix in SUFFIXES):
            _entry(archive, f"{name}/{inside.as_posix()}", file.read_bytes())


def _entry(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    if name in archive.namelist():
        return
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (0o755 if name.endswith("/") else 0o644) << 16
    archive.writestr(entry, content)


def _folders_of(package: str) -> list[Path]:
    """Where Python finds a package; a namespace may lie in several folders."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError) as e:
        raise StackError(f"package {package} (sources.packages) cannot be found: {e}", "PYTHONPATH says where Python looks") from e
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    if not places or not all(place.is_dir() for place in places):
        raise StackError(
            f"package {package} (sources.packages) is no folder that could be shipped", "install it on the cluster, or name a folder"
        )
    return places


def _init_of(package: str) -> bytes | None:
    spec = importlib.util.find_spec(package)
    file = Path(spec.origin) if spec and spec.origin and spec.has_location else None
    return file.read_bytes() if file and file.is_file() else None
