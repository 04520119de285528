"""The stages between a listener and an upstream."""
