"""The storage's part in the recorded uploads, and the account that made them."""

from __future__ import annotations

from typing import TypedDict

from ezlink_async.emulator import faults


class Operator(TypedDict, total=False):
    """The settings in which a sample differs from an account that has a file."""

    files_work: bool
    files_limit: int
    group: str


#: The storage's answers, by the name of the sample; without one it stores the file.
STORAGE: dict[str, faults.Fault] = {
    "files-storage-refuses": faults.Upstream(403, "<Error>AccessDenied</Error>"),
    "files-storage-resets": faults.Upstream(broken="reset"),
}
#: The accounts that differ from one of level 1 with a file: most have none.
ACCOUNTS: dict[str, Operator] = {
    "files-first": {"files_work": False},
    "files-first-upload": {"files_work": False},
    "files-unknown-group": {"files_work": False, "group": "default"},
    "files-unknown-level": {"group": "default"},
    "files-quota": {"files_limit": 4},
}
