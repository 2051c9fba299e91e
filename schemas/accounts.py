"""Counters of the meter's accounts (topic ``accounts``) that more than one part knows by name."""

from __future__ import annotations

#: Messages of a sensor while a newer run of the same id speaks as well: two live sensors have one id.
SHARED_ID = "shared_id_messages"
