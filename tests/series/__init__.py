"""
Long series against servers on raw sockets, which count what the client promises.

``nox -s series`` runs them in full, plain and over TLS, with the client in a
process of its own; ``tests/end_to_end/test_series.py`` runs a small edition of
each.
"""
