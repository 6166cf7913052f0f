"""The values that every other room speaks in; no input or output."""
