"""Where events of a client may go: one module for each, loaded by its own name."""
