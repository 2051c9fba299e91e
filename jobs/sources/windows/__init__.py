"""The source of windows per source."""
