"""Midjourney: every submit and task behind ``/mj`` but the face swap itself."""

from ezlink_async.services.midjourney.calls import Midjourney
from ezlink_async.services.midjourney.creations import (
    Blend,
    Describe,
    Imagine,
    Shorten,
)
from ezlink_async.services.midjourney.follow_ups import Action, Change, Modal
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
    "Action",
    "Blend",
    "Change",
    "Describe",
    "Imagine",
    "Midjourney",
    "Modal",
    "Mode",
    "Shorten",
    "read_submission",
]
