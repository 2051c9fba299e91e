"""Data quality: what must hold of the records of a type, looked at in each batch and at night; and the quarantine of those that fail."""
