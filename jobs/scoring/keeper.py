"""The driver's look at the registry: which models are in force, and what becomes of one that cannot be.

Every ``scoring.poll_s`` seconds a :class:`Keeper` asks which versions are champion and challenger. A new one is loaded and looked at
(:mod:`jobs.scoring.probe`) before it scores. One that is missing, damaged, of other features, too large, too slow, or that says what are no
probabilities, is refused: told once, counted, and looked at again later, since a cause may pass; the one before stays in force. The same
where the alias is taken away, or the registry cannot be asked. A rollback is a promotion.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from infra import log
from infra.config import Settings
from infra.errors import ModelError, one_line
from jobs.scoring import counters, probe, registry
from jobs.scoring.handout import Offer
from jobs.scoring.heads import AliasHolder, Heads, heads
from jobs.scoring.model import ScoringModel
from jobs.scoring.modelset import MOST_FAILURES, ModelSet
from jobs.scoring.names import model_name
from jobs.scoring.outlook import Outlook, Refusal
from schemas.records import RecordType

LOG = log.get("jobs.scoring")

CHAMPION, CHALLENGER = "champion", "challenger"
#: Seconds after which a refused model is looked at again, at the latest.
_LONGEST_S = 600.0


@dataclass
class _Role:
    """What is known of one of the two aliases."""

    name: str
    alias: str
    model: ScoringModel | None = None
    head: AliasHolder | None = None  # of the model in force
    refused: AliasHolder | None = None
    cause: str = ""
    due: float = 0.0  # when the refused one is looked at again
    wait: float = 0.0
    gone: bool = False  # told that nothing has the alias


class Keeper:
    """Keeps a set of models of one record type in force.

    Parameters
    ----------
    settings
        Sections ``scoring`` and ``paths``.
    record
        What is scored.
    put
        Gets each set that comes into force.
    """

    def __init__(self, settings: Settings, record: RecordType, put: Callable[[Offer], None]) -> None:
        self._settings, self._record, self._put = settings, record, put
        self._champion = _Role(CHAMPION, settings.scoring.alias)
        self._challenger = _Role(CHALLENGER, settings.scoring.challenger_alias)
        self._failures: dict[str, float] = {}
        self._away = ""
        self._lock = threading.RLock()
        self._outlook = Outlook(settings, record)

    @property
    def champion(self) -> str:
        """Version of the champion in force."""
        return self._champion.model.version if self._champion.model else ""

    def begin(self, *, waits: bool = False) -> None:
        """Put the first set in force.

        A champion that is too slow is better than none: it scores, and is told. One that is damaged gives way to the version that was in
        force before, if there is one. With ``waits``, none is needed where none was ever promoted: the first that is comes into force
        then.

        Raises
        ------
        ModelError
            No registry or no champion, unless it waits for one; or one that cannot score.
        """
        with self._lock:
            try:
                model, head = self._first()
            except registry.ModelMissingError as e:
                if not waits:
                    raise
                LOG.warning("records are not scored until a model is promoted", record=self._record.name, why=str(e), next=e.hint)
                self._put(Offer.of(pickle.dumps(None)))
                return
            self._enter(self._champion, model, head)
            self.look()
            if self._challenger.model is None:
                self._hand_out()

    def look(self) -> None:
        """Look at the registry once, and follow it."""
        with self._lock:
            try:
                found = self._heads()
            except ModelError as e:
                self._is_away(one_line(e))
                return
            self._is_back()
            changed = self._follow(self._champion, found.champion)
            if self._follow(self._challenger, self._second(found)):
                changed = True
            if changed:
                self._hand_out()
            self._tell()

    def failed(self, version: str, tasks: float) -> None:
        """A challenger has failed in so many tasks more: after some it is refused."""
        with self._lock:
            self._failures[version] = self._failures.get(version, 0.0) + tasks
            role = self._challenger
            if role.model is None or role.model.version != version or self._failures[version] < MOST_FAILURES:
                return
            head = role.head
            role.model, role.head = None, None
            if head is not None:
                self._refuse(role, head, f"{self._label(head.version)}: failed in {self._failures[version]:.0f} tasks")
                role.due = float("inf")  # until another has the alias
            self._hand_out()
            self._tell()

    def _first(self) -> tuple[ScoringModel, AliasHolder | None]:
        try:
            model = registry.load_champion(self._settings, self._record)
            self._fit(model, slow_too=True)
            return model, None
        except registry.ModelMissingError:
            raise
        except ModelError as e:
            last = self._outlook.last_champion()
            if not last:
                raise
            try:
                before = registry.load_version(self._settings, self._record, last)
                self._fit(before, slow_too=True)
            except ModelError:
                raise e from None
            LOG.warning("champion cannot score, the one before does", record=self._record.name, version=last, cause=one_line(e))
            return before, AliasHolder(last, ())

    def _heads(self) -> Heads:
        """Who has the aliases; nobody where even the registry is still to be made."""
        try:
            return heads(self._settings, self._record)
        except registry.ModelMissingError:
            if self._champion.model is not None:
                raise
            return Heads(None, None)

    def _second(self, found: Heads) -> AliasHolder | None:
        """The challenger, unless it is the champion by now."""
        if found.challenger is None or found.challenger == self._champion.head:
            return None
        return found.challenger

    def _follow(self, role: _Role, head: AliasHolder | None) -> bool:
        """Whether another model has come into force."""
        if head is None:
            return self._without(role)
        role.gone = False
        if role.head is None and role.model is not None and role.model.version == head.version:
            role.head = head  # loaded at the start
        if head == role.head:
            role.refused, role.cause = None, ""
            return False
        if head == role.refused and time.monotonic() < role.due:
            return False
        begin = time.monotonic()
        try:
            model = registry.load_version(self._settings, self._record, head.version)
            self._fit(model, slow_too=role is self._champion and role.model is None)
        except ModelError as e:
            self._refuse(role, head, one_line(e))
            return False
        except Exception as e:  # of a library that reads the file: no reason to stop looking
            self._refuse(role, head, f"{self._label(head.version)}: {type(e).__name__}: {one_line(e)}")
            return False
        before = role.model.version if role.model else ""
        self._enter(role, model, head)
        LOG.info(
            f"{role.name} in force",
            record=self._record.name,
            version=model.version,
            before=before or None,
            seconds=round(time.monotonic() - begin, 2),
        )
        return True

    def _without(self, role: _Role) -> bool:
        """Nothing has the alias: a champion stays, a challenger goes."""
        role.refused, role.cause = None, ""
        if role.model is None:
            return False
        if role is self._champion:
            if not role.gone:
                role.gone = True
                LOG.warning(
                    "nothing has the champion's alias any more: the model stays", record=self._record.name, version=role.model.version
                )
            return False
        LOG.info("challenger gone", record=self._record.name, version=role.model.version)
        role.model, role.head = None, None
        return True

    def _enter(self, role: _Role, model: ScoringModel, head: AliasHolder | None) -> None:
        role.model, role.head = model, head
        role.refused, role.cause, role.wait, role.gone = None, "", 0.0, False
        self._failures.pop(model.version, None)

    def _refuse(self, role: _Role, head: AliasHolder, cause: str) -> None:
        again = head == role.refused
        role.wait = min(_LONGEST_S, role.wait * 2 if again else self._settings.scoring.poll_s)
        role.due = time.monotonic() + role.wait
        counters.REFUSED.labels(self._record.name, role.name).inc()
        if not (again and cause == role.cause):
            LOG.error(
                "model refused",
                role=role.name,
                record=self._record.name,
                version=head.version,
                cause=cause,
                stays=role.model and role.model.version,
            )
        role.refused, role.cause = head, cause

    def _fit(self, model: ScoringModel, *, slow_too: bool = False) -> None:
        """Raise :class:`ModelError` where a model cannot score."""
        label, rules = self._label(model.version), self._settings.scoring
        size = len(pickle.dumps(model)) / 1e6
        if size > rules.max_mb:
            raise ModelError(f"{label}: {size:.0f} MB are more than scoring.max_mb ({rules.max_mb:g})", "promote a smaller model")
        probe.examine(model, label)
        try:
            probe.in_time(model, label, rules.max_ms_per_1000)
        except probe.TooSlowError as e:
            if not slow_too:
                raise
            LOG.warning("champion is slow, and there is no other", record=self._record.name, version=model.version, cause=one_line(e))

    def _label(self, version: str) -> str:
        return f"model {model_name(self._settings, self._record)} version {version}"

    def _hand_out(self) -> None:
        if self._champion.model is not None:
            self._put(Offer.of(pickle.dumps(ModelSet(self._champion.model, self._challenger.model), protocol=5)))
            self._tell()

    def _is_away(self, cause: str) -> None:
        counters.AWAY.labels(self._record.name).set(1)
        if not self._away:
            LOG.warning("model registry is away: the models stay", record=self._record.name, champion=self.champion, cause=cause)
        self._away = cause
        self._tell()

    def _is_back(self) -> None:
        counters.AWAY.labels(self._record.name).set(0)
        if self._away:
            LOG.info("model registry is back", record=self._record.name)
        self._away = ""

    def _tell(self) -> None:
        roles = (self._champion, self._challenger)
        in_force = {role.name: role.model.version for role in roles if role.model}
        refused = [Refusal(role.name, role.refused.version, role.cause) for role in roles if role.refused]
        self._outlook.show(in_force, refused, self._away, self._champion.gone)
