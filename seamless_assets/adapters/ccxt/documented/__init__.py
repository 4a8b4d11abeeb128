"""What ccxt documents of an exchange and its markets; nothing is asked of anybody."""
