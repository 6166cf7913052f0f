"""The layers of a dyno from the Ruby VM up. Pure: the manifest in, a launch description out."""
