"""Watching a model: whether what it is served is still what it knows, and what another version would have said of it."""
