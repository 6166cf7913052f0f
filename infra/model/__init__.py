"""The values and contracts that all other rooms share; no I/O."""
