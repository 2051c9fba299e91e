"""``flowlake sources``: what is derived from the declarations of the sources."""

from __future__ import annotations

import json
from typing import Any

from infra import config
from infra.config import Settings
from infra.console.options import ConfFile, Json
from infra.sources import Source


def sources(as_json: Json = False, conf_file: ConfFile = None) -> None:
    """Show each source with its topics, record types, queries, settings and commands, and the tables that its records go to.

    They are found below the packages that sources.packages names.

    Example:  flowlake sources --json
    """
    from jobs.runtime import lake

    settings = config.load(conf_file)
    lake.check(settings)
    found = [told(settings, source) for source in settings.catalogue.sources]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for number, source in enumerate(found):
        print(f"{'' if number == 0 else chr(10)}{source['name']}: {source['title']}")
        for name, value in source.items():
            if name not in ("name", "title"):
                print(f"  {name:<9} {', '.join(value) if isinstance(value, list) else value}")


def told(settings: Settings, source: Source) -> dict[str, Any]:
    """A source as plain values."""
    from jobs.runtime import lake

    return {
        "name": source.name,
        "title": source.title,
        "settings": list(source.sections),
        "topics": [settings.topic(topic.name) for topic in source.topics],
        "records": [f"{record.name} (version {record.version})" for record in source.records],
        "queries": [query.name + ("" if query.wanted(settings) else f" (off: {query.switch})") for query in source.queries],
        "lake": [lake.location(settings, record) for record in source.records if record.lake],
        "hot": [record.hot.name for record in source.records if record.hot],
        "alerts": [record.name for record in source.records if record.alerts],
        "commands": [f"flowlake {command.path(source.name)}" for command in source.commands],
    }
