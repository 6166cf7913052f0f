"""From a dyno.yaml to a value: load with positions, validate, and build the model."""
