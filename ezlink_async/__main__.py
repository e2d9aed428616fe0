"""The command ``ezlink``, or one sentence on how to install it."""

from __future__ import annotations

import sys

_EXTRA = {"cyclopts", "rich"}


def main() -> int:
    """Run the command line with the arguments of this process; return the exit code."""
    try:
        from ezlink_async.cli import run
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write(
            "the command line needs its extra: pip install 'ezlink-async[cli]'\n"
        )
        return 2
    except KeyboardInterrupt:  # loading takes a moment
        return 130
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
