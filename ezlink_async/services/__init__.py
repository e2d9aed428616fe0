"""
The API, one module a family: its wire, and its class for users.

Names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ezlink_async.services.account import Account, AccountBalance, Charge

__all__ = ["Account", "AccountBalance", "Charge"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.account"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
