"""Turns an app's source tree into a slug: one digest for the tree, one read-only image to ship."""
