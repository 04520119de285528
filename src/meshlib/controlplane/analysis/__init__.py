"""What can be said of a world without running it; each file looks at one thing."""
