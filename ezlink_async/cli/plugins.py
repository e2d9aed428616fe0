"""``--plugin MODULE``: Python modules that register further families of jobs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ezlink_async.errors import ConfigurationError

Plugins = Annotated[
    tuple[str, ...], Parameter("--plugin", negative=(), show_default=False)
]
"""The names of modules to import; the option may be repeated."""


def import_plugins(names: Iterable[str]) -> None:
    """
    Import the modules *names*, which may be in the folder we are in.

    :exc:`ConfigurationError` for one that cannot be imported.
    """
    here = str(Path.cwd())
    for name in names:
        if here not in sys.path:
            sys.path.append(here)
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigurationError(f"--plugin {name}: {error}") from error
