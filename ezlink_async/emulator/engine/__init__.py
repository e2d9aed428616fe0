"""
Face swaps between arrays, on the CPU, without network access.

The engine knows BGR arrays only: no event loop, no picture files, nothing of the
server around it. The only files it reads are its own weights.
"""
