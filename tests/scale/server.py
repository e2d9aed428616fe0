"""The server of a very large batch, a program of its own, run unbuffered."""

from __future__ import annotations

import json
import sys

from ezlink_async.emulator import EmulatorSettings, in_thread


def _main() -> None:
    """Write the client's environment, then for each line of stdin the charges."""
    settings = EmulatorSettings(
        concurrency=64, queue=10**9, balance=10**12, key_quota=None, code_22=False
    )
    with in_thread(settings) as server:
        environ = {
            "EZLINK_API_KEY": server.api_key,
            "EZLINK_BASE_URL": server.base_url,
            "EZLINK_POLL_FIRST": "0.05",
            "EZLINK_POLL_SHORTEST": "0.05",
        }
        sys.stdout.write(f"{json.dumps(environ)}\n")
        for _ in sys.stdin:
            sys.stdout.write(f"{len(server.control.charges)}\n")


if __name__ == "__main__":
    _main()
