"""The service behind the relay, which runs the tasks."""
