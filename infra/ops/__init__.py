"""Day two: logs, one-off dynos, monitoring, maintenance, diagnosis."""
