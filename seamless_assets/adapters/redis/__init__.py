"""What the machines of a cluster share through Redis: rate budget and leases."""
