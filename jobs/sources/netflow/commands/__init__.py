"""Commands of the source of flow exporters."""
