"""What is served below `/v1/`, one file for each kind of thing."""
