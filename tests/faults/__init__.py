"""Faults of the world below the queue, one after the other, with what they may not break."""
