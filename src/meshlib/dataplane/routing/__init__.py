"""Route tables, compiled."""
