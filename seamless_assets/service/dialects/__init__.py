"""The service as the exchanges that its nodes are of: their paths, words and limits, over what is kept."""
