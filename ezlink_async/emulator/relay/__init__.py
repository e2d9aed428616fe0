"""The public API: what the relay answers, and what it keeps."""
