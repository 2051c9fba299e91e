"""A plain table becomes a partitioned one, without a row being moved.

The table that is there becomes a partition of the new one (``<table>_legacy``), which holds all times up to the day after tomorrow: a
change of the catalogue, however many rows there are, and at every moment a reader sees all of them. PostgreSQL would read them all, under
a lock, to see that they keep within the bound; so the bound is first given to the table as a check, which is verified while others read
and write. Each of the three steps may be broken off, and is not done again.

Rows later than that (a clock that is wrong) go to the default partition in the last step.

The steps are written in PL/pgSQL: they are what a dry run prints, too, and that runs with psql.
"""

from __future__ import annotations

from schemas import hot

#: The check that stands for the bound between the first step and the last.
BOUND = "flowlake_legacy_bound"

_OLD = "to_regclass(quote_ident('{table}'))"

_CHECKED = """DO $do$
DECLARE upper timestamptz := (date_trunc('day', now() AT TIME ZONE 'UTC') + interval '2 days') AT TIME ZONE 'UTC'; beyond boolean;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_class WHERE oid = {old} AND relkind = 'r')
    OR EXISTS (SELECT FROM pg_constraint WHERE conrelid = {old} AND conname = '{bound}') THEN
    RETURN;
  END IF;
  EXECUTE format('SELECT (SELECT max({time}) FROM {table}) >= %L', upper) INTO beyond;
  IF beyond IS FALSE THEN
    EXECUTE format('ALTER TABLE {table} ADD CONSTRAINT {bound} CHECK ({time} < %L) NOT VALID', upper);
  END IF;
END $do$"""

_VERIFIED = """DO $do$
BEGIN
  IF EXISTS (SELECT FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
      WHERE k.conrelid = {old} AND k.conname = '{bound}' AND NOT k.convalidated AND c.relkind = 'r') THEN
    ALTER TABLE {table} VALIDATE CONSTRAINT {bound};
  END IF;
END $do$"""

#: What cannot be carried over to a new table without a person.
_BLOCKERS = """SELECT string_agg(what, ', ') FROM (
      SELECT 'foreign key ' || conname || ' of ' || conrelid::regclass FROM pg_constraint WHERE confrelid = old AND contype = 'f'
      UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgrelid = old AND NOT tgisinternal
      UNION ALL SELECT 'policy ' || polname FROM pg_policy WHERE polrelid = old
      UNION ALL SELECT 'rule ' || rulename FROM pg_rewrite WHERE ev_class = old
      UNION ALL SELECT 'publication ' || p.pubname FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
        WHERE r.prrelid = old
      UNION ALL SELECT 'inheritance by ' || inhrelid::regclass FROM pg_inherits WHERE inhparent = old
      UNION ALL SELECT DISTINCT 'materialized view ' || v.oid::regclass FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
        JOIN pg_class v ON v.oid = r.ev_class WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = old AND v.relkind = 'm'
    ) found(what)"""

_REFUSED = f"""  {_BLOCKERS} INTO blockers;
  IF blockers IS NOT NULL THEN
    RAISE EXCEPTION 'table {{table}} cannot be laid out in days: it has %', blockers
      USING ERRCODE = 'object_in_use', HINT = 'drop that, run flowlake db migrate, and make it again';
  END IF;
"""

#: Rights, views and owner, as statements for the table that takes the name.
_CARRIED = """  FOR item IN SELECT format('GRANT %s ON {table} TO %s%s', privilege_type,
        CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
        CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS made
      FROM pg_class c, aclexplode(c.relacl) WHERE c.oid = old AND grantee <> c.relowner
      UNION ALL SELECT format('GRANT %s (%I) ON {table} TO %s%s', privilege_type, a.attname,
        CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
        CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM pg_attribute a, aclexplode(a.attacl) WHERE a.attrelid = old AND NOT a.attisdropped LOOP
    afterwards := afterwards || item.made;
  END LOOP;
  FOR item IN SELECT DISTINCT v.oid, format('CREATE OR REPLACE VIEW %s %s AS %s', v.oid::regclass,
        CASE WHEN v.reloptions IS NULL THEN '' ELSE 'WITH (' || array_to_string(v.reloptions, ', ') || ')' END,
        pg_get_viewdef(v.oid)) AS made
      FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
      WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = old AND v.relkind = 'v' ORDER BY v.oid LOOP
    afterwards := afterwards || item.made;
  END LOOP;
  SELECT format('ALTER TABLE {table} OWNER TO %I', pg_get_userbyid(relowner)) INTO command FROM pg_class WHERE oid = old
    AND pg_get_userbyid(relowner) <> current_user;
  IF command IS NOT NULL THEN
    afterwards := afterwards || command;
  END IF;
"""

_SWAPPED = """DO $do$
DECLARE
  old oid := {old}; upper timestamptz; empty boolean; blockers text; item record; afterwards text[] := '{{}}'; command text;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_class WHERE oid = old AND relkind = 'r') THEN
    RETURN;
  END IF;
  LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;
{refused}  IF to_regclass('{legacy}') IS NOT NULL OR to_regclass('{default}') IS NOT NULL THEN
    RAISE EXCEPTION 'table {table} cannot be partitioned: {legacy} or {default} is there already'
      USING ERRCODE = 'object_in_use', HINT = 'rename it, then run flowlake db migrate';
  END IF;
  SELECT substring(pg_get_constraintdef(oid) FROM '''([^'']+)''')::timestamptz INTO upper
    FROM pg_constraint WHERE conrelid = old AND conname = '{bound}';
  upper := coalesce(upper, (date_trunc('day', now() AT TIME ZONE 'UTC') + interval '2 days') AT TIME ZONE 'UTC');
  EXECUTE 'SELECT NOT EXISTS (SELECT FROM {table})' INTO empty;
  -- What the new table is to have, in words, as long as the old one has the name: indexes, rights, and the views that read it.
  FOR item IN SELECT pg_get_indexdef(indexrelid) AS made FROM pg_index i WHERE indrelid = old AND indisvalid
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')) ORDER BY indexrelid LOOP
    afterwards := afterwards || item.made;
  END LOOP;
  FOR item IN SELECT format('ALTER TABLE {table} ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)) AS made
      FROM pg_constraint WHERE conrelid = old AND contype IN ('p', 'u', 'f') ORDER BY contype <> 'p', oid LOOP
    afterwards := item.made || afterwards;
  END LOOP;
{carried}  -- The old one gives its names away.
  ALTER TABLE {table} RENAME TO {legacy};
  FOR item IN SELECT c.relname, 'l' || c.oid AS free FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE indrelid = old LOOP
    EXECUTE format('ALTER INDEX %I RENAME TO %I', item.relname, '{legacy}_' || item.free);
  END LOOP;
  CREATE TABLE {table} (LIKE {legacy} INCLUDING ALL EXCLUDING INDEXES) PARTITION BY RANGE ({time});
  ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {bound};
  CREATE TABLE {default} PARTITION OF {table} DEFAULT;
  IF empty THEN
    FOREACH command IN ARRAY afterwards LOOP
      EXECUTE command;
    END LOOP;
    DROP TABLE {legacy};
    RETURN;
  END IF;
  EXECUTE format('WITH beyond AS (DELETE FROM {legacy} WHERE {time} >= %L RETURNING *) INSERT INTO {default} SELECT * FROM beyond', upper);
  EXECUTE format('ALTER TABLE {table} ATTACH PARTITION {legacy} FOR VALUES FROM (MINVALUE) TO (%L)', upper);
  ALTER TABLE {legacy} DROP CONSTRAINT IF EXISTS {bound};
  FOREACH command IN ARRAY afterwards LOOP
    EXECUTE command;
  END LOOP;
END $do$"""


#: TimescaleDB: the hypertable that holds all rows takes the name, and the names of the indexes.
_TAKEN_OVER = """DO $do$
DECLARE
  old oid := {old}; blockers text; item record; afterwards text[] := '{{}}'; command text; names jsonb;
BEGIN
{refused}{carried}  SELECT jsonb_object_agg(substring(pg_get_indexdef(i.indexrelid) FROM 'USING .*$'), c.relname) INTO names
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = old;
  ALTER TABLE {table} RENAME TO {table}_old;
  ALTER TABLE {table}_new RENAME TO {table};
  FOREACH command IN ARRAY afterwards LOOP
    EXECUTE command;
  END LOOP;
  DROP TABLE {table}_old;
  FOR item IN SELECT c.relname, names ->> substring(pg_get_indexdef(i.indexrelid) FROM 'USING .*$') AS name
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = '{table}'::regclass LOOP
    IF item.name IS NOT NULL THEN
      EXECUTE format('ALTER INDEX %I RENAME TO %I', item.relname, item.name);
    END IF;
  END LOOP;
END $do$"""


def statements(table: str, time: str) -> tuple[str, ...]:
    """The steps, each to be committed by itself, and each nothing where it has been done.

    Parameters
    ----------
    table
        Name of the table, as it stands in SQL.
    time
        Its column of the time.
    """
    return tuple(_filled(step, table, time) for step in (_CHECKED, _VERIFIED, _SWAPPED))


def refusal(table: str) -> str:
    """Statement that fails where a table has what cannot be carried over."""
    checked = "DO $do$\nDECLARE old oid := {old}; blockers text;\nBEGIN\n{refused}END $do$"
    return _filled(checked, table, "")


def taken_over(table: str) -> str:
    """Statement by which ``<table>_new``, which holds all its rows, takes the place of a table."""
    return _filled(_TAKEN_OVER, table, "")


def _filled(step: str, table: str, time: str) -> str:
    words = {
        "table": table,
        "time": time,
        "bound": BOUND,
        "old": _OLD.format(table=table),
        "legacy": hot.legacy_partition(table),
        "default": hot.default_partition(table),
    }
    return step.format(**words, refused=_REFUSED.format(**words), carried=_CARRIED.format(**words))
