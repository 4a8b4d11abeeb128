"""The commands about one node: what it holds, what is released of it, what is decided of it."""
