"""From what closes at an exchange, and what is known already, to those who follow it bar by bar."""
