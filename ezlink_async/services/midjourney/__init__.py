"""Midjourney: every submit and task behind ``/mj`` but the face swap itself."""

from ezlink_async.services.midjourney.submits import (
    AccountFilter,
    Mode,
    read_submission,
)
from ezlink_async.services.midjourney.tasks import (
    FAMILIES,
    LIST_LIMIT,
    MIDJOURNEY,
    MIDJOURNEY_MODAL,
)

__all__ = [
    "FAMILIES",
    "LIST_LIMIT",
    "MIDJOURNEY",
    "MIDJOURNEY_MODAL",
    "AccountFilter",
    "Mode",
    "read_submission",
]
