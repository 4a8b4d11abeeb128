"""HTTP services: thin shells that say in JSON what the rooms below do."""
