"""Durable Python objects: a typed tree in memory, every update on disk before it returns."""
