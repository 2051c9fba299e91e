"""A version becomes champion or challenger, the champion before comes back, a version is retired."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from infra.config import Settings
from infra.console.options import me
from infra.errors import ConfigError, ModelError
from jobs.models import gates, versions
from jobs.models.gates import Gate
from jobs.models.versions import RETIRED, Version
from jobs.scoring import aliases, registry, tracking
from jobs.scoring.aliases import AliasChange, PromotionConflictError
from jobs.scoring.names import model_name
from schemas.records import RecordType

if TYPE_CHECKING:
    from mlflow import MlflowClient


class GateError(ModelError):
    """A model does not pass the gates; ``gates`` are all that were looked at."""

    def __init__(self, message: str, hint: str, found: Sequence[Gate] = ()) -> None:
        super().__init__(message, hint)
        self.gates = tuple(found)


@dataclass(frozen=True)
class Promoted:
    """A change of an alias that is in force, and the gates that were looked at."""

    change: AliasChange
    gates: tuple[Gate, ...] = ()


@dataclass(frozen=True)
class Examined:
    """A version, the alias that it is wanted for, who has that now, and what the gates say of the change."""

    wanted: Version
    alias: str
    before: str | None
    gates: tuple[Gate, ...]

    @property
    def closed(self) -> list[Gate]:
        """Gates that refuse it."""
        return [gate for gate in self.gates if gate.verdict == gates.CLOSED]

    def refuse(self) -> None:
        """Raise what a promotion would, where a gate is closed.

        Raises
        ------
        GateError
            A gate is closed.
        """
        if self.closed:
            said = "; ".join(f"{gate.name}: {gate.said}" for gate in self.closed)
            raise GateError(
                f"{self.wanted.label} is not promoted: {said}", "train a better one, or overrule it: --force --reason WHY", self.gates
            )


def examine(
    settings: Settings,
    record: RecordType,
    name: str,
    *,
    challenger: bool = False,
    force: bool = False,
    held_out: gates.HeldOut | None = None,
) -> Examined:
    """Look at a version through the gates, and change nothing. Parameters and errors are those of :func:`promote`.

    Raises
    ------
    ModelMissingError
        There is no such version.
    GateError
        It is retired, and not forced.
    ModelError
        The model cannot be used, or the registry cannot be reached.
    """
    alias = settings.scoring.challenger_alias if challenger else settings.scoring.alias
    wanted = versions.version(settings, record, name)
    before = aliases.version_of(settings, record, alias)
    _check_roles(settings, wanted, challenger=challenger)
    if wanted.retired is not None and not force:
        raise GateError(
            f"{wanted.label} is retired: {wanted.retired}", "take that back: flowlake models retire --undo, or --force --reason WHY"
        )
    alone = not challenger and before is None
    found = gates.check(settings, record, wanted.version, None if challenger else before, held_out, alone=alone)
    return Examined(wanted, alias, before, tuple(found))


def promote(
    settings: Settings,
    record: RecordType,
    name: str,
    *,
    challenger: bool = False,
    force: bool = False,
    reason: str = "",
    held_out: gates.HeldOut | None = None,
) -> Promoted:
    """Make a version champion, through the gates, or challenger.

    A challenger scores beside the champion and decides nothing: of it is only asked that it can be used, fast enough.

    Parameters
    ----------
    settings
        Sections ``scoring`` and ``gates``.
    record
        What it scores.
    name
        Version, or an alias.
    challenger
        As challenger instead.
    force
        Whatever the gates say, and though it is retired. A model that cannot be used is not promoted in any case.
    reason
        Why; kept. Without one nothing is forced.
    held_out
        Gives the labelled records of the gates; None: :func:`jobs.models.gates.held_out`.

    Raises
    ------
    ConfigError
        Forced without a reason.
    ModelMissingError
        There is no such version.
    GateError
        A gate is closed, or it is retired.
    PromotionConflictError
        Somebody else changed the alias meanwhile.
    ModelError
        The model cannot be used, or the registry cannot be reached.
    """
    if force and not reason.strip():
        raise ConfigError("--force without --reason", "say why the gates are overruled: it is kept with the version")
    seen = examine(settings, record, name, challenger=challenger, force=force, held_out=held_out)
    if not force:
        seen.refuse()
    wanted, alias, closed = seen.wanted, seen.alias, seen.closed
    change = AliasChange(
        "promote", alias, seen.before, wanted.version, why=reason, forced=bool(force and (closed or wanted.retired is not None)),
        gates={gate.name: gate.verdict for gate in seen.gates},
    )  # fmt: skip
    with tracking.opened(settings, create=False) as client:
        aliases.change(client, settings, record, change, lambda: _not_retired_since(client, wanted))
        if change.forced:
            kept = {"why": reason, "who": change.who, "at": change.at, "closed": [f"{gate.name}: {gate.said}" for gate in closed]}
            client.set_model_version_tag(wanted.model, wanted.version, "forced", json.dumps(kept))
        if not challenger:
            _challenger_no_more(client, settings, record, wanted.version)
    return Promoted(change, seen.gates)


def _challenger_no_more(client: MlflowClient, settings: Settings, record: RecordType, version: str) -> None:
    """Of the champion: it would stand beside itself."""
    alias = settings.scoring.challenger_alias
    if aliases.holder(client, settings, record, alias) == version:
        change = AliasChange("withdraw", alias, version, None, why=f"became {settings.scoring.alias}")
        aliases.change(client, settings, record, change)


def _not_retired_since(client: MlflowClient, seen: Version) -> None:
    """Raise where somebody has retired a version since it was looked at."""
    if seen.retired is None and client.get_model_version(seen.model, seen.version).tags.get(RETIRED):
        raise PromotionConflictError(
            f"{seen.label} has just been retired",
            "somebody else has just done that: flowlake models show tells why; decide again",
        )


def _check_roles(settings: Settings, wanted: Version, *, challenger: bool) -> None:
    scoring = settings.scoring
    alias = scoring.challenger_alias if challenger else scoring.alias
    if alias in wanted.aliases:
        raise ModelError(f"{wanted.label} is {alias} already", "flowlake models list shows which version is what")
    if challenger and scoring.alias in wanted.aliases:
        raise ModelError(f"{wanted.label} is {scoring.alias}: it cannot be compared with itself", "name another version")


def rollback(settings: Settings, record: RecordType, *, reason: str = "") -> Promoted:
    """Make the champion before the champion again. A second time goes back one further.

    Versions that were retired since are passed over.

    Raises
    ------
    ModelMissingError
        There is no champion.
    ModelError
        There was none before, it cannot be used, or the registry cannot be reached.
    PromotionConflictError
        Somebody else changed the champion meanwhile.
    """
    alias = settings.scoring.alias
    now = versions.version(settings, record, alias).version
    every = {one.version: one for one in versions.versions(settings, record)}
    retired = {number for number, one in every.items() if one.retired is not None}
    target = next((one for one in reversed(before(versions.history(settings, record), alias, now)) if one not in retired), None)
    name = model_name(settings, record)
    if target is None:
        raise ModelError(f"model {name}: there was no champion before version {now}", "flowlake models promote names one")
    try:
        registry.load_version(settings, record, target)
    except ModelError as e:
        hint = f"pass it over: flowlake models retire {target} --reason WHY, then roll back again; or promote another"
        raise ModelError(str(e), hint) from e
    change = AliasChange("rollback", alias, now, target, why=reason)
    with tracking.opened(settings, create=False) as client:
        aliases.change(client, settings, record, change, lambda: _not_retired_since(client, every[target]))
        _challenger_no_more(client, settings, record, target)
    return Promoted(change)


def before(changes: Sequence[AliasChange], alias: str, now: str) -> list[str]:
    """Champions before ``now``, the last one at the end: what promotions put on the pile and rollbacks have not taken off.

    A change whose program ended in between counts where the next one, or ``now``, says that it came into force.
    """
    pile: list[str] = []
    of = [one for one in changes if one.alias == alias]
    for one, then in zip(of, [*(later.before for later in of[1:]), now], strict=False):
        if not one.done and one.after != then:
            continue
        if one.before is not None and pile[-1:] != [one.before]:  # somebody set it by MLflow's own means
            pile.append(one.before)
        if one.action == "rollback":
            while pile and pile[-1] != one.after:
                pile.pop()
        if one.after is not None and pile[-1:] != [one.after]:
            pile.append(one.after)
    if pile[-1:] == [now]:
        pile.pop()
    return [one for one in pile if one != now]


def retire(settings: Settings, record: RecordType, name: str, *, reason: str, undo: bool = False) -> Version:
    """Keep a version from being promoted, or allow it again.

    A challenger that is retired is one no more.

    Raises
    ------
    ModelMissingError
        There is no such version.
    ModelError
        It is the champion, or the registry cannot be reached.
    """
    wanted = versions.version(settings, record, name)
    scoring = settings.scoring
    with tracking.opened(settings, create=False) as client:
        if undo:
            if wanted.retired is not None:
                client.delete_model_version_tag(wanted.model, wanted.version, RETIRED)
        else:
            kept = {"why": reason or "no reason given", "who": me(), "at": datetime.now(UTC).isoformat(timespec="seconds")}
            with aliases.alone(client, settings, wanted.model) as still_alone:  # else it might become champion in between
                if aliases.holder(client, settings, record, scoring.alias) == wanted.version:
                    raise ModelError(
                        f"{wanted.label} is {scoring.alias}: it is not retired while it scores",
                        "first: flowlake models rollback, or promote another",
                    )
                still_alone()
                client.set_model_version_tag(wanted.model, wanted.version, RETIRED, json.dumps(kept))
            if scoring.challenger_alias in wanted.aliases:
                change = AliasChange("withdraw", scoring.challenger_alias, wanted.version, None, why="retired")
                aliases.change(client, settings, record, change)
    return versions.version(settings, record, wanted.version)
