"""Files that people have: what is in them, and the bars that it makes."""
