"""The wire: xDS."""
