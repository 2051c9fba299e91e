"""Notifications: from the outbox of the database to people and to other systems."""
