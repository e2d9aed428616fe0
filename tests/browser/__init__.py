"""A real browser, in which the report is looked at."""
