"""Incidents: alerts that belong together, as one story that a person can take on."""
