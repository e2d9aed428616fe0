"""Pictures as bytes: read, written, marked and swapped."""
