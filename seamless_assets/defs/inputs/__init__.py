"""Released bars of a node as a plain input of an asset, op or check."""
