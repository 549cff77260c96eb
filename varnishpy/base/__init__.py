"""Ground floor: what every other room stands on. Imports nothing from above."""
