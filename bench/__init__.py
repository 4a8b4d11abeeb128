"""What the project costs, each line beside what a user would otherwise use: `python -m bench`."""
