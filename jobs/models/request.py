"""What a command that trains is asked to do with the version that comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from infra.errors import ConfigError

Promote = Annotated[
    bool,
    typer.Option("--promote", help="Make it champion beside the present one, if it passes the gates; else only where none can score."),
]
Force = Annotated[bool, typer.Option("--force", help="With --promote: though a gate is closed; needs --reason.")]
Reason = Annotated[str, typer.Option("--reason", help="Why it is promoted; kept in the registry.")]


@dataclass(frozen=True)
class PromotionRequest:
    """What is asked of a version that is trained.

    Attributes
    ----------
    promote
        To be champion beside the one that there is.
    force
        Whatever the gates say.
    reason
        Why; without one nothing is forced.
    """

    promote: bool = False
    force: bool = False
    reason: str = ""

    def check(self, *, register: bool) -> None:
        """Refuse what cannot be done, before the work.

        Raises
        ------
        ConfigError
            Options that do not go together.
        """
        if self.promote and not register:
            raise ConfigError("--promote with --no-register", "only a registered version can become champion")
        if self.force and not self.promote:
            raise ConfigError("--force without --promote", "it is said of a promotion: add --promote, or leave it out")
        if self.force and not self.reason.strip():
            raise ConfigError("--force without --reason", "say why the gates are overruled: it is kept with the version")
