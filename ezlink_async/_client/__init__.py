"""The running client: it submits jobs, polls tasks and owns both."""
