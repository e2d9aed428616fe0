"""
Long series against servers on raw sockets: what the client promises, counted.

``nox -s series`` runs them in full, plain and over TLS, with the client in a
process of its own; ``tests/test_series.py`` runs a small edition of each.
"""
