"""Who asks for what in dialects, and what that saves the exchanges."""
