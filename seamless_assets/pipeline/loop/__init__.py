"""The event loop under the face: its thread, what runs on it, and how that ends."""
