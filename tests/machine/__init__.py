"""A search: any order of the queue's verbs, with workers that crash and pause and clocks that step, on both databases at once."""
