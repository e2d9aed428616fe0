"""Jobs for a journal, as the swap of two pictures makes them."""

from __future__ import annotations

import os
from pathlib import Path

from ezlink_async.batch.journal.columns import encode_path
from ezlink_async.batch.journal.jobs import Claim, JobKey, JobRecord, NewJob
from ezlink_async.batch.pairs.pictures import Input

REQUEST = f'{{"options":{{}},"source":"{"a" * 64}","target":"{"b" * 64}"}}'


def swap_key(
    server: str = "https://a.example", path: str = "a", request: str = REQUEST
) -> JobKey:
    """Return the key of a swap."""
    return JobKey(server, "swap", request, path)


def new_swap(key: JobKey, source: Path, target: Path) -> NewJob:
    """Return a swap of these pictures, which the journal may have already."""
    inputs = (Input("source", source), Input("target", target))
    return NewJob(key, str(target), "midjourney", inputs)


def again(record: JobRecord) -> NewJob:
    """Return what finds the job of *record* once more."""
    return NewJob(record.key, record.label, record.family, record.inputs)


def swap_claim(
    source: Path, target: Path, wanted_path: str, content: bytes = b"t"
) -> Claim:
    """Return the claim of a swap to an output path."""
    names = (os.fsencode(encode_path(path)) for path in (target, source))
    return Claim(b"\0".join(names), wanted_path, content)
