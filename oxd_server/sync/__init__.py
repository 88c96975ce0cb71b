"""Who may do what at the same time: locks, shared work, shares of a host. Knows nothing of what is done."""
