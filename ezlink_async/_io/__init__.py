"""Everything that waits: tasks, threads, files and HTTP."""
