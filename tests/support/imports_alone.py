"""
Import each module of the package in a process of its own.

An order of imports can hide a circle; here each module is the first one.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

PACKAGE = pathlib.Path("ezlink_async")


def _name(path: pathlib.Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _fault(name: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{name}: {done.stderr}" if done.returncode else ""


def main() -> str:
    """Return the faults, or nothing when every module imports on its own."""
    names = [_name(path) for path in sorted(PACKAGE.rglob("*.py"))]
    with ThreadPoolExecutor(2) as pool:
        faults = pool.map(_fault, (n for n in names if not n.endswith("__main__")))
        return "\n".join(filter(None, faults))


if __name__ == "__main__":
    sys.exit(main() or None)
