"""The archive's book in the database of the hot store: which months are archived, and in which files.

One row a run, table and month. A month has several rows where rows of it came after it had been archived.
"""

from __future__ import annotations

from enum import StrEnum

from schemas.migrations import Statement

COMPONENT = "archive"
BOOK = "archive_months"
#: Version of the manifest and of the files' layout.
ARCHIVE_VERSION = 1


class ArchiveState(StrEnum):
    """How far a run has come with a month. Readers see the files from ``verified`` on."""

    WRITING = "writing"  # files are being written, where no reader looks
    WRITTEN = "written"  # they are whole
    VERIFIED = "verified"  # they have been read back and compared, and lie in their place; the rows are still in the hot store
    DELETED = "deleted"  # the rows have left the hot store
    RESTORED = "restored"  # they are there again, until restored_until


#: States in which the files are in their place, and hold what they should.
HELD = (ArchiveState.VERIFIED, ArchiveState.DELETED, ArchiveState.RESTORED)

#: What holds for them: :mod:`schemas.migrations`.
MIGRATIONS: dict[int, tuple[Statement, ...]] = {
    1: (
        f"CREATE TABLE IF NOT EXISTS {BOOK} (\n"
        "  table_name text NOT NULL,\n"
        "  month date NOT NULL,\n"
        "  run_id text NOT NULL,\n"
        "  state text NOT NULL CHECK (state IN ('writing', 'written', 'verified', 'deleted', 'restored')),\n"
        "  place text NOT NULL,\n"  # folder of the table in the archive
        "  rows bigint NOT NULL DEFAULT 0,\n"
        "  bytes bigint NOT NULL DEFAULT 0,\n"
        "  files jsonb NOT NULL DEFAULT '[]',\n"  # name, bytes, sha256, rows, times, sums
        "  sums jsonb NOT NULL DEFAULT '{}',\n"  # of all files
        "  days jsonb NOT NULL DEFAULT '{}',\n"  # date -> [rows, sum of the server's hashes of the rows]
        "  program text NOT NULL,\n"
        "  schema_version integer NOT NULL,\n"
        "  restored_until timestamptz,\n"
        "  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),\n"
        "  changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),\n"
        "  PRIMARY KEY (table_name, month, run_id)\n)",
    ),
}
