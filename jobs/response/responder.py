"""Who carries out a block: the interface, the dry run, and which one the settings name.

What is blocked stands in the database. A responder brings the world outside into that state, and may be asked to do so again at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from infra.errors import ConfigError
from infra.sections import ResponseSettings
from jobs.response.addresses import Network

DRY_RUN, NFTABLES, WEBHOOK = "dry-run", "nftables", "webhook"


@dataclass(frozen=True)
class BlockOrder:
    """What has just been decided about one address."""

    action: Literal["block", "unblock"]
    block: UUID
    network: Network
    until: datetime
    seconds: float  # that it is still to be blocked; by the clock of the database
    by: str
    why: str = ""
    alert: UUID | None = None
    incident: UUID | None = None
    asks: int = 1  # the how-many-eth request for this block


@dataclass(frozen=True)
class Drift:
    """How the world differs from the database; what a responder cannot look at, it reports as equal."""

    missing: tuple[Network, ...] = ()
    extra: tuple[Network, ...] = ()
    other_time: tuple[Network, ...] = ()
    structure: tuple[str, ...] = field(default=())  # of the table itself: chains, rules, sets

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.other_time or self.structure)


class Responder(Protocol):
    """Carries out blocks."""

    @property
    def name(self) -> str:
        """As the settings and the column ``responder`` say it."""

    @property
    def whole(self) -> bool:
        """Whether it is told all that holds, each time (one at a time then), or only of the order."""

    def carry_out(self, order: BlockOrder, holding: Mapping[Network, float]) -> None:
        """Do it, within a bounded time; done twice it is the same.

        Parameters
        ----------
        order
            What has changed.
        holding
            All that is to be blocked now: network -> seconds.

        Raises
        ------
        ResponseError
            It could not be done; says why.
        """

    def mend(self, holding: Mapping[Network, float], *, only_look: bool = False) -> Drift:
        """Compare with what is to be blocked, and make it so unless ``only_look``; returns what was otherwise.

        Raises
        ------
        ResponseError
            It could not be read or mended.
        """


class DryRun:
    """Does nothing: what would have been blocked stands in the database and in the audit."""

    name = DRY_RUN
    whole = False

    def carry_out(self, order: BlockOrder, holding: Mapping[Network, float]) -> None:
        """Do nothing."""

    def mend(self, holding: Mapping[Network, float], *, only_look: bool = False) -> Drift:
        """Nothing differs from nothing."""
        return Drift()


def made(name: str, settings: ResponseSettings) -> Responder:
    """The responder of a name.

    Raises
    ------
    ConfigError
        The settings lack what it needs.
    """
    if name == NFTABLES:
        from jobs.response.nft import Nftables

        return Nftables(settings.nft)
    if name == WEBHOOK:
        from jobs.response.webhook import Webhook

        if not settings.webhook_url:
            raise ConfigError("response.responder is webhook, and response.webhook_url is empty", "set FLOWLAKE_RESPONSE__WEBHOOK_URL")
        if not settings.webhook_secret.get_secret_value():
            raise ConfigError(
                "response.responder is webhook, and there is no secret to sign with",
                "set FLOWLAKE_RESPONSE__WEBHOOK_SECRET (environment only), here and at the receiver",
            )
        return Webhook(settings)
    if name == DRY_RUN:
        return DryRun()
    raise ConfigError(f"there is no responder {name!r}", f"one of: {DRY_RUN}, {NFTABLES}, {WEBHOOK}")
