"""Worlds and the services beside them: what a service decides for a world, what one is sent."""
