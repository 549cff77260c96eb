"""What tools/fuzz runs: one function for each parser, which says what must hold of any octets."""
