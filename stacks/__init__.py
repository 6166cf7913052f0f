"""The layers of a dyno from the Ruby VM up: they turn a manifest into a launch description, without I/O."""
