"""Shapes of a message, one receiver or standard a module. Pure."""
