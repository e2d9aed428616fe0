"""When each task is fetched, and what a fetch changes."""
