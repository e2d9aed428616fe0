"""How the client compares with what a competent user writes by hand."""
