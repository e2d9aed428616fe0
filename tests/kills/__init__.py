"""A batch that is killed again and again, and what it owes in the end."""
