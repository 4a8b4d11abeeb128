"""What a reader asks for and gets."""
