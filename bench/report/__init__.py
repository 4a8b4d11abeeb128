"""How rows are shown: a table, pictures, a page, JSON."""
