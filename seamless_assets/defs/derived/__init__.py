"""Assets of users that are nodes: made of released bars, published and released like those of an exchange."""
