"""Services of ours that answer over HTTP."""
