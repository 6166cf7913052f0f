"""The files that say how an app runs elsewhere: one module for each format, and one registry."""
