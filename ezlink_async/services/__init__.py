"""Other calls of the server than swaps and tasks, each with its own wire."""
