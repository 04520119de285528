"""Where calls go: clusters, endpoints, limits and second tries."""
