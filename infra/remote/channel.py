"""What every user of an SSH channel shares."""

PIECE = 32 * 1024
"""Bytes handed to the channel at once: it copies what is left on each turn, so large pieces are slow."""
