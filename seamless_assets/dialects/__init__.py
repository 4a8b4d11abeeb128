"""How the local exchange speaks: one venue's REST interface a file, told apart by path."""
