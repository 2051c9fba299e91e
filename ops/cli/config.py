"""``flowlake config show``: the values in force, secrets masked."""

from __future__ import annotations

import json
from functools import reduce
from operator import getitem
from typing import Any

import yaml
from pydantic import SecretStr

from infra import config
from infra.config import Settings
from infra.console.options import ConfFile, Json, group

app = group("The configuration in force.", "flowlake config show")
MASK = "********"


@app.callback()
def _group() -> None:
    """The configuration in force (file, then FLOWLAKE_* environment variables over it)."""


@app.command(epilog="Example:  FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS=broker:9092 flowlake config show --conf-file conf/cluster.yaml")
def show(conf_file: ConfFile = None, as_json: Json = False) -> None:
    """Print every setting with its effective value; secrets are masked, and empty when not set."""
    values = effective(config.load(conf_file))
    print(json.dumps(values, indent=2) if as_json else yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120).rstrip())


def effective(settings: Settings) -> dict[str, Any]:
    """All settings as plain values, by section; a secret is ``********`` when set, else empty. Client options by Kafka's names may hold
    secrets too (``sasl.jaas.config``, ``ssl.key.password``) and URLs may hold a password; both are masked."""
    plain: dict[str, Any] = json.loads(settings.model_dump_json())
    for dotted in config.secret_fields(type(settings)):
        *place, name = dotted.split(".")
        value: SecretStr = getattr(reduce(getattr, place, settings), name)
        reduce(getitem, place, plain)[name] = MASK if value.get_secret_value() else ""
    return {section: {key: _masked(key, value) for key, value in fields.items()} for section, fields in plain.items()}


def _masked(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _masked(k, v) for k, v in value.items()}
    if isinstance(value, str) and value and value != MASK:
        if any(word in key.lower() for word in ("password", "secret", "jaas", "credential", "access.key", "token")):
            return MASK
        if "://" in value and "@" in value:
            scheme, rest = value.split("://", 1)
            login, host = rest.rsplit("@", 1)
            return f"{scheme}://{login.split(':', 1)[0]}:{MASK}@{host}" if ":" in login else value
    return value
