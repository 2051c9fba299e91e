"""A classifier out of its file, without running code of that file.

MLflow's own loader believes what the description beside the file says: a format ``pickle`` or ``cloudpickle`` runs whatever the file
holds, ``code`` puts a folder on Python's path, and the types that skops may build are those that the description trusts. So the
description is read here as plain YAML, and skops builds only what :data:`jobs.scoring.trusted.TRUSTED` and its own list name.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from infra.errors import one_line
from jobs.scoring.trusted import TRUSTED

#: Names that a message shows.
_SHOWN = 6


class UnreadableError(Exception):
    """A model's folder is damaged, or holds what would run code."""


def describe(folder: Path) -> dict[str, Any]:
    """What ``MLmodel`` says, as plain values.

    Raises
    ------
    UnreadableError
        It cannot be read, or is no such description.
    """
    import yaml

    try:
        found = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    except Exception as e:  # YAML's, the operating system's, of text that is none
        raise UnreadableError(f"MLmodel: {one_line(e)}") from e
    if not isinstance(found, dict) or not isinstance(found.get("flavors"), dict):
        raise UnreadableError("MLmodel: no description of a model")
    return found


def estimator(folder: Path) -> Any:
    """The classifier of a folder in MLflow's layout.

    Raises
    ------
    UnreadableError
        It is damaged, is in a format that runs code, or holds types that are not trusted; these are named.
    """
    file = _file(folder, describe(folder))
    import skops.io

    try:
        types = sorted(set(skops.io.get_untrusted_types(file=file)) - set(TRUSTED))
    except Exception as e:  # skops raises its own, zipfile's and JSON's
        raise UnreadableError(f"{file.name} is no skops file: {one_line(e)}") from e
    if types:
        shown = ", ".join(types[:_SHOWN]) + (f" and {len(types) - _SHOWN} more" if len(types) > _SHOWN else "")
        raise UnreadableError(f"{file.name} holds types that are not trusted, and could run code: {shown}")
    try:
        return skops.io.load(file, trusted=list(TRUSTED))
    except Exception as e:
        raise UnreadableError(one_line(e)) from e


def _file(folder: Path, description: dict[str, Any]) -> Path:
    """The skops file that a description names."""
    flavor = description["flavors"].get("sklearn")
    if not isinstance(flavor, dict):
        others = ", ".join(sorted(map(str, description["flavors"]))) or "none"
        raise UnreadableError(f"MLmodel: flavor sklearn is missing (there is {others}); others are not loaded, since they may run code")
    if (how := flavor.get("serialization_format")) != "skops":
        raise UnreadableError(f"MLmodel: format {str(how)[:40]!r} runs code when it is loaded; only skops is")
    if code := flavor.get("code"):
        raise UnreadableError(f"MLmodel: it brings code of its own ({str(code)[:40]!r}), which is not run")
    name = PurePosixPath(str(flavor.get("pickled_model", "")))
    if len(name.parts) != 1 or name.name in ("", ".", ".."):
        raise UnreadableError(f"MLmodel: {str(name)[:80]!r} is no file beside it")
    return folder / name.name
