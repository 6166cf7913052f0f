"""What servers are and what they say: reached, observed, locked."""
