"""Values as they travel over HTTP: written by the service, read by its clients."""
