"""The code of the project as one zip, for a cluster's Python path."""

from __future__ import annotations

import hashlib
import io
import zipfile
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


def build(folder: Path, root: Path = ROOT) -> Path:
    """Write ``flowlake-<hash of the content>.zip`` into a folder and return its path; an equal one that is there is kept.

    Parameters
    ----------
    folder : Path
        Made if missing.
    root : Path
        Where the packages lie.

    Raises
    ------
    StackError
        The folder cannot be written, or a package is missing.
    """
    content = contents(root)
    path = folder / f"flowlake-{hashlib.sha256(content).hexdigest()[:12]}.zip"
    try:
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            files.replace(path, content)
    except OSError as e:
        raise StackError(f"{path} cannot be written: {e.strerror}", "set FLOWLAKE_HOME to a folder that can be") from e
    return path


def contents(root: Path) -> bytes:
    """The zip as bytes: sorted names, fixed times and modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in PACKAGES:
            if not (root / package / "__init__.py").is_file():
                raise StackError(f"package {package} is not in {root}", "run from a complete copy of the project")
            for file in sorted((root / package).rglob("*")):
                if file.suffix in SUFFIXES and "__pycache__" not in file.parts and file.is_file():
                    entry = zipfile.ZipInfo(file.relative_to(root).as_posix(), EPOCH)
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, file.read_bytes())
    return buffer.getvalue()
