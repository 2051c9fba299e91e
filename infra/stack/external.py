"""Servers at a configured loopback address that somebody else runs: whether one lets us in, and what it lacks.

That such a server is there at all, and speaks the protocol, is asked by :func:`infra.stack.kafka.speaks` and
:func:`infra.stack.postgres.speaks`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from infra.config import Settings
from infra.errors import BrokerError, StoreError, one_line
from infra.kafka import topics
from infra.paths import variable
from infra.sections import PostgresSettings
from infra.stack import postgres

if TYPE_CHECKING:
    import psycopg2

#: Seconds in which a broker that is there must have let us in.
_PATIENCE_S = 3.0
#: Every server has it, and clients that create databases log in there (PostgreSQL manual, createdb).
_MAINTENANCE = "postgres"


def admit_broker(settings: Settings, owner: str) -> None:
    """Log in at the broker as the settings say, and have it answer a request at the address that it advertises.

    Parameters
    ----------
    settings : Settings
        Address, protocol and user.
    owner : str
        Who listens there, for the error.

    Raises
    ------
    BrokerError
        It does not let us in: another listener (TLS, SASL) than ``kafka.security`` says, a wrong user, an address that leads nowhere.
    """
    with _failed_attempts() as failures:
        try:
            with topics.admin(settings, timeout_s=_PATIENCE_S) as client:
                client.list_topics()
                return
        except BrokerError as e:
            refused, cause = e, _telling(failures) or e.__cause__ or e
    words = one_line(cause, 200)
    raise BrokerError(
        f"Kafka at {settings.kafka.bootstrap_servers}, {owner}, does not let us in: {words}",
        "kafka.security and kafka.sasl_username must be as its listener wants them, and what it advertises "
        f"(advertised.listeners) be reachable; or name another with {variable('kafka.bootstrap_servers')}",
    ) from refused


def _telling(failures: list[BaseException]) -> BaseException | None:
    """The one that says most: a broker that refuses a user mostly closes the connection before its answer is read."""
    from kafka import errors

    refusals = (errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError)
    return next((failure for failure in failures if isinstance(failure, refusals)), failures[0] if failures else None)


@contextmanager
def _failed_attempts() -> Iterator[list[BaseException]]:
    """Why connections fail while inside. kafka-python tries again until its time is up, and says why only in its log."""
    failures: list[BaseException] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            arguments = record.args if isinstance(record.args, tuple) else ()
            failures.extend(argument for argument in arguments if isinstance(argument, BaseException))

    logger, listener = logging.getLogger("kafka.net.connection"), Listener(logging.WARNING)
    before = logger.level, logger.propagate
    logger.addHandler(listener)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield failures
    finally:
        logger.setLevel(before[0])
        logger.propagate = before[1]
        logger.removeHandler(listener)


def admit_database(section: str, store: PostgresSettings, *, create: bool) -> bool:
    """Log in at a database as the settings say.

    Parameters
    ----------
    section : str
        Section of the settings that ``store`` is (``hot``, ``alerts``); named in errors.
    create : bool
        Create the database where it is missing.

    Returns
    -------
    bool
        Whether the database was missing.

    Raises
    ------
    StoreError
        The server refuses user or password, or the database is missing and this user may not create it.
    """
    import psycopg2
    from psycopg2 import errors

    try:
        postgres.connect(store, store.database).close()
        return False
    except psycopg2.OperationalError as e:
        refused = e
    # libpq says why in the server's language only; whether the database is what is missing is therefore asked of the server.
    try:
        connection = postgres.connect(store, _MAINTENANCE)
    except psycopg2.OperationalError:
        raise _refusal(section, store, refused) from refused
    with closing(connection):
        if postgres.has_database(connection, store.database):
            raise _refusal(section, store, refused) from refused
        if not create:
            return True
        try:
            postgres.create_database(connection, store.database)
        except psycopg2.Error as e:
            may_not = isinstance(e, errors.InsufficientPrivilege)
            why = "may not create it" if may_not else f"cannot create it: {postgres.words(e)}"
            raise StoreError(
                f"database {store.database!r} is not on the PostgreSQL at {store.host}:{store.port}, and user {store.user!r} {why}",
                f"have an administrator create it, with user {store.user!r} as its owner; or name another with "
                f"{variable(f'{section}.database')}",
            ) from e
    return True


def _refusal(section: str, store: PostgresSettings, error: psycopg2.Error) -> StoreError:
    return StoreError(
        f"PostgreSQL at {store.host}:{store.port}/{store.database} refuses user {store.user!r}: {postgres.words(error)}",
        f"set {section}.user, {section}.database and {variable(f'{section}.password')} as it wants them, "
        f"or name another server with {variable(f'{section}.port')}",
    )
