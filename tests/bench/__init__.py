"""The client compared with the script that a competent user writes by hand."""
