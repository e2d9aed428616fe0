"""How a job is submitted, held back while the server is full, repeated, found again."""
