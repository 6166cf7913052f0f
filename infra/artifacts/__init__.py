"""Stores of slugs: this computer pushes a slug once, and the servers pull it from there."""
