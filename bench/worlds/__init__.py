"""What is measured upon: made-up bars, released history, an exchange and servers of this machine."""
