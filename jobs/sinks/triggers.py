"""Functions and triggers that a part keeps in the database, made anew where they are missing, changed or turned off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: In the comment of each function: another text is another version of it.
_VERSION = "flowlake 1"
#: So many missing parts are named.
_TOLD = 4


class TriggerLayout:
    """Trigger functions, and the triggers that call them (:class:`jobs.sinks.migrations.TableLayout`).

    Parameters
    ----------
    about
        What they are of, for people.
    functions
        Name -> body (PL/pgSQL). They have the rights of the tables' owner, so that whoever fires one needs none on what it writes.
    triggers
        (table, trigger) -> what stands behind its name in ``CREATE TRIGGER``.
    always
        They fire also in a session that says that it replicates.
    """

    def __init__(self, about: str, functions: Mapping[str, str], triggers: Mapping[tuple[str, str], str], *, always: bool = False) -> None:
        self._about = about
        self._functions = functions
        self._triggers = triggers
        self._always = always

    def missing(self, cursor: Any) -> Sequence[str]:
        return [what for what, _ in self._lacking(cursor)]

    def script(self, cursor: Any) -> Sequence[str]:
        return [f"{statement};" for _, statements in self._lacking(cursor) for statement in statements]

    def apply(self, connection: Any, say: Callable[[str], None]) -> None:
        with connection, connection.cursor() as cursor:
            lacking = self._lacking(cursor)
            if lacking:
                some = ", ".join(what for what, _ in lacking) if len(lacking) <= _TOLD else f"{len(lacking)} functions and triggers"
                say(f"{self._about}: making {some}")
            for _, statements in lacking:
                for statement in statements:
                    cursor.execute(statement)

    def _lacking(self, cursor: Any) -> list[tuple[str, tuple[str, ...]]]:
        """What is not there, or is not as it should be, and the statements that make it; a trigger that was turned off is not there."""
        cursor.execute(
            "SELECT p.proname, p.prosrc, p.prosecdef, obj_description(p.oid, 'pg_proc') FROM pg_proc p "
            "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = current_schema() AND p.proname = ANY(%s)",
            (list(self._functions),),
        )
        functions = {
            name
            for name, body, definer, about in cursor.fetchall()
            if body == f"{self._functions[name]}\n" and definer and about == _VERSION
        }
        out = [(f"function {name}", self._function(name)) for name in self._functions if name not in functions]
        cursor.execute(
            "SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid), t.tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = current_schema() AND t.tgname LIKE 'flowlake%%' AND NOT t.tgisinternal"
        )
        there = {(table, name): (definition, enabled) for table, name, definition, enabled in cursor.fetchall()}
        for (table, name), behind in self._triggers.items():
            definition, enabled = there.get((table, name), ("", ""))
            if definition and _same(definition, behind) and enabled == ("A" if self._always else "O"):
                continue
            out.append((f"trigger {name} of {table}", self._trigger(table, name, behind)))
        return out

    def _function(self, name: str) -> tuple[str, ...]:
        body = f"$body${self._functions[name]}\n$body$"
        return (
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS {body}",
            # A table of that name in another schema, or a temporary one, must not stand in for ours.
            f"DO $do$ BEGIN EXECUTE format('ALTER FUNCTION {name}() SET search_path = %I, pg_temp', current_schema()); END $do$",
            f"COMMENT ON FUNCTION {name}() IS '{_VERSION}'",
            f"REVOKE ALL ON FUNCTION {name}() FROM PUBLIC",
        )

    def _trigger(self, table: str, name: str, behind: str) -> tuple[str, ...]:
        # ALWAYS: also where a session says that it replicates, by which ordinary triggers are left out.
        return (
            f"DROP TRIGGER IF EXISTS {name} ON {table}",
            f"CREATE TRIGGER {name} {behind}",
            *((f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}",) if self._always else ()),
        )


def _same(definition: str, behind: str) -> bool:
    """Compared without the schema and the order of events, which PostgreSQL writes its own way."""

    def words(text: str) -> set[str]:
        return {word.split(".")[-1] for word in text.replace("(", " ( ").replace(",", " , ").replace(")", " ) ").split()}

    return words(behind) <= words(definition)
