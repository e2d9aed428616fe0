"""Fixtures for users of pytest; see ``ezlink_async.emulator``."""
