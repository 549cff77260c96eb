"""A model of the cache, and the real one beside it."""
