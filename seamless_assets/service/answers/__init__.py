"""Forms of answers: bars and values as bytes, errors, what is given again, what has no end."""
