"""xDS: the wire, and the client that keeps a snapshot of what a control plane says."""
