"""HTTP/2 as test peers speak it: every frame at will, right or wrong."""
