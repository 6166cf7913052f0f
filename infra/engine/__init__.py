"""Prepare a plan, apply it in phases, and revert what fails."""
