"""The face over HTTP, for those who have a service and no stores."""
