"""When each followed task is polled, and what its records teach."""
