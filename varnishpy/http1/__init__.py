"""The HTTP/1 transport towards clients."""
