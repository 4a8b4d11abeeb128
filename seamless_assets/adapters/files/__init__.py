"""Files of users: what is exported for other programs."""
