"""The pages as text: templates of the folder ``pages``, and what they share. All text is escaped by the engine."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from infra.names import visible
from infra.plurals import counted
from ops.dash import spelling
from ops.dash.render import Shown
from schemas import crowds

#: What a browser fetches beside the page, and its type.
STATIC = {"dash.css": "text/css", "tables.js": "text/javascript", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("ops.dash", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters.update(words=spelling.text, thousands="{:,}".format, counted=counted, visible=visible)
    made.globals.update(asset=asset, ends=crowds.ends)
    return made


def page(name: str, **values: Any) -> str:
    """A template, filled in."""
    return _environment().get_template(name).render(**values)


def body(shown: Shown) -> str:
    """What is inside of a panel."""
    return page("panel.html", shown=shown)


def bodies(panels: Mapping[str, Shown]) -> dict[str, str]:
    """Of several."""
    return {key: body(shown) for key, shown in panels.items()}


@cache
def static(name: str) -> str:
    """Content of a file that a page needs.

    Raises
    ------
    KeyError
        There is none of that name.
    """
    if name not in STATIC:
        raise KeyError(name)
    return resources.files("ops.dash").joinpath("static", name).read_text(encoding="utf-8")


@cache
def asset(name: str) -> str:
    """Address of such a file; another one for another content, so that browsers may keep it."""
    return f"/static/{name}?v={hashlib.sha256(static(name).encode()).hexdigest()[:12]}"


def fingerprint(text: str) -> str:
    """A script or style inside of a page, as its policy names it (Content Security Policy Level 3, hash-source)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
