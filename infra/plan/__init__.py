"""What would change: formation, placement, difference, policy. Values in, values out."""
