"""The archive: whole months of the hot store as Parquet, written, read back and verified before anything is deleted."""
