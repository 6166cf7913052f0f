"""A dyno's layers from the Ruby VM up: a manifest in, what to launch out. Nothing here does I/O."""
