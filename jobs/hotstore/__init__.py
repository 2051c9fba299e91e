"""Life of the hot store's tables: days made and dropped, rollups, conversion; on TimescaleDB or plain PostgreSQL alike."""
