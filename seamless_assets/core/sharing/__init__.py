"""What workers share: budgets, leases, policy, events, retention."""
