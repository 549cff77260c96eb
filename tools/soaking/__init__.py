"""What tools/soak and tools/faults are made of: an origin, clients that check each answer, faults, a watch."""
