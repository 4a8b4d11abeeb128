"""A configuration file as plain data that knows its lines, before anything is made of it."""
