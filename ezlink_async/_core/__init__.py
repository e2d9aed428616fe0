"""Values and decisions of the client, without I/O: nothing here waits."""
