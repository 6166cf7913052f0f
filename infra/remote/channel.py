"""Constants shared by everything that uses an SSH channel."""

PIECE = 32 * 1024
"""Bytes handed to the channel at once. It copies the remainder on every send, so larger pieces are slow."""
