"""Where files lie: a folder, a bucket, a bucket with copies on this machine."""
