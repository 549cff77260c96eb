"""VMODs written in Python: the built-in ones, and the API for others."""
