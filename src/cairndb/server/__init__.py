"""The daemon: what an owner's process does for others, over HTTP and the Redis protocol."""
