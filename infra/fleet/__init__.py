"""Connections to servers: what they report, and the lock on them."""
