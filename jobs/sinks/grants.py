"""Roles and their rights in a database (:class:`jobs.sinks.migrations.TableLayout`): made where they are missing, never taken away.

A user who may not make roles leaves them to one who may; the tables serve without.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from jobs.sinks.migrations import Say, TableLayout
from schemas.roles import MEMBERS, ROLES, Grants

_IS_MEMBER = "SELECT pg_has_role(r.oid, o.oid, 'MEMBER') FROM pg_roles r, pg_roles o WHERE r.rolname = %s AND o.rolname = %s"
_MAY = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"


class RoleGrants:
    """Rights on some tables."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants

    def missing(self, cursor: Any) -> Sequence[str]:
        return [what for what, _ in self._lacking(cursor)]

    def script(self, cursor: Any) -> Sequence[str]:
        return [f"{statement};" for _, statement in self._lacking(cursor, planned=True)]

    def apply(self, connection: Any, say: Say) -> None:
        with connection, connection.cursor() as cursor:
            lacking = self._lacking(cursor)
            if lacking:
                say(f"roles: {', '.join(ROLES)}")
            for _, statement in lacking:
                cursor.execute(statement)

    def _lacking(self, cursor: Any, planned: bool = False) -> list[tuple[str, str]]:
        """What is missing, and the statement that makes it; nothing that this user may not make. *planned*: of tables to come, too."""
        cursor.execute(_MAY)
        (may,) = cursor.fetchone()
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(ROLES),))
        there = {name for (name,) in cursor.fetchall()}
        # Another database of the server may be migrated at this moment.
        made = "DO $do$ BEGIN CREATE ROLE {0} NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $do$"
        out = [(f"role {role}", made.format(role)) for role in ROLES if role not in there and may]
        roles = [role for role in ROLES if role in there or may]
        for role, of in MEMBERS.items():
            for other in of:
                cursor.execute(_IS_MEMBER, (role, other))
                if may and cursor.fetchone() != (True,):
                    out.append((f"membership of {role} in {other}", f"GRANT {other} TO {role}"))
        return out + [found for role in roles for found in self._rights(cursor, role, role in there, planned)]

    def _rights(self, cursor: Any, role: str, there: bool, planned: bool) -> list[tuple[str, str]]:
        cursor.execute(
            "SELECT current_schema(), %s AND has_schema_privilege(to_regrole(%s)::oid, current_schema(), 'USAGE')", (there, role)
        )
        schema, usage = cursor.fetchone()
        out, all_made = list[tuple[str, str]](), True
        for table, of in self._grants.items():
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))
            (made,) = cursor.fetchone()
            all_made &= made
            if not (made or planned):
                continue
            wanted = [right for right in of.get(role, ()) if not (made and there and _granted(cursor, role, table, right))]
            if wanted:
                out.append((f"rights of {role} on {table}", f"GRANT {', '.join(wanted)} ON {table} TO {role}"))
        if not usage or (planned and not all_made):  # a script may be run on a schema that is made anew
            out.insert(0, (f"right of {role} to use schema {schema}", f'GRANT USAGE ON SCHEMA "{schema}" TO {role}'))
        return out


def may_read(cursor: Any, table: str) -> bool:
    """Whether this user may read all of a table; False where there is none. For a cursor whose rows are mappings."""
    cursor.execute("SELECT coalesce(has_table_privilege(to_regclass(%s)::oid, 'SELECT'), false) AS may", (table,))
    return bool(cursor.fetchone()["may"])


def _granted(cursor: Any, role: str, table: str, right: str) -> bool:
    what, columns = _parts(right)
    if columns is None:
        cursor.execute("SELECT has_table_privilege(%s, %s, %s)", (role, table, what))
        return bool(cursor.fetchone()[0])
    for column in columns.split(", "):
        cursor.execute("SELECT has_column_privilege(%s, %s, %s, %s)", (role, table, column, what))
        if cursor.fetchone() != (True,):
            return False
    return True


def _parts(right: str) -> tuple[str, str | None]:
    """``UPDATE (a, b)`` -> ``UPDATE`` and ``a, b``."""
    found = re.fullmatch(r"(\w+)(?: \((.*)\))?", right)
    if found is None:
        raise ValueError(f"{right!r} is no right")
    return found[1], found[2]


class Layouts:
    """Several layouts one after the other; what one of them may not do, the others do all the same."""

    def __init__(self, *layouts: TableLayout) -> None:
        self._layouts = layouts

    def missing(self, cursor: Any) -> Sequence[str]:
        return [what for layout in self._layouts for what in layout.missing(cursor)]

    def script(self, cursor: Any) -> Sequence[str]:
        return [statement for layout in self._layouts for statement in layout.script(cursor)]

    def apply(self, connection: Any, say: Say) -> None:
        failed: Exception | None = None
        for layout in self._layouts:
            try:
                layout.apply(connection, say)
            except Exception as e:
                failed = failed or e
                connection.rollback()
        if failed is not None:
            raise failed
