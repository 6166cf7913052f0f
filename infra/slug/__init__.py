"""Build the slug of an app: a digest of the source tree, and a read-only image of it."""
