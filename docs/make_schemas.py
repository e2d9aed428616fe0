"""
Make the JSON schemas of the profile, the manifests and the lines of ``--json``.

``python docs/make_schemas.py`` writes them into ``share/ezlink-async``. The fields of
the profile and of the manifests come from the classes that read them.
"""

from __future__ import annotations

import enum
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Union, get_args, get_origin, get_type_hints

import attrs

from ezlink_async._core.settings import Settings
from ezlink_async.batch.outcomes import BatchStatus
from ezlink_async.models import TaskStatus
from ezlink_async.services.base import PICTURES
from ezlink_async.services.face_swap import FaceSwap
from ezlink_async.services.midjourney import AccountFilter
from ezlink_async.services.registry import KINDS

FOLDER = Path(__file__).parent.parent / "share" / "ezlink-async"

Schema = dict[str, object]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

SETTINGS = {
    "api_key": "The key of the API, without 'Bearer'.",
    "base_url": "The address of the API. The key is sent there alone.",
    "account_token": "The account's access token, with which lost answers are found.",
    "max_concurrency": "The jobs in progress at one time.",
    "max_uploads": "The pictures that are sent at one time.",
    "slot_timeout": "Seconds that a job waits for its turn. Without it, for ever.",
    "retry": "How often a request is sent again.",
    "retry.first": "Seconds before the first repetition, at most.",
    "retry.longest": "Seconds between two attempts, at most.",
    "retry.attempts": "The attempts of a request that meets faults.",
    "retry.timeout": "Seconds in which all attempts of a request begin.",
    "retry.resubmit_unknown": "Send a job again that may be paid already.",
    "poll": "When a task is polled.",
    "poll.first": "Seconds from acceptance to the first poll.",
    "poll.shortest": "Seconds between two polls, at least.",
    "poll.longest": "Seconds between two polls, at most.",
    "poll.deadline": "Seconds a task may take. Without it, those of its family.",
    "timeouts": "How long each stage of a request may take.",
    "timeouts.connect": "Seconds for making a connection.",
    "timeouts.upload": "Seconds in which no byte of a body moves.",
    "timeouts.submit": "Seconds from the last byte of a job to the answer.",
    "timeouts.fetch": "Seconds for a whole status request.",
    "timeouts.image": "Seconds in which no byte of a download arrives.",
    "timeouts.close": "Seconds that closing waits for answers to submits.",
    "timeouts.reconcile": "Seconds in which a lost submit is looked up.",
}
"""What each setting is for, by its name in the profile."""

_SIMPLE: dict[object, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
}
_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_MAYBE: Schema = {"type": ["string", "null"]}


def _object(properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an object with these properties and no more."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _of_type(hint: object) -> Schema:
    """Return the schema of a value of the type *hint*; ``None`` is its absence."""
    if get_origin(hint) in {types.UnionType, Union}:
        hint = next(each for each in get_args(hint) if each is not type(None))
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": [str(member.value) for member in hint]}
    if get_origin(hint) is Mapping:
        return {"type": "object"}
    return _SIMPLE.get(hint, _TEXT)  # a button and a task are given by their ids


def _setting(hint: object) -> Schema:
    found = _of_type(hint)
    if found["type"] == "number":
        return {**found, "exclusiveMinimum": 0}
    return {**found, "minimum": 1} if found["type"] == "integer" else found


def _settings(kind: type[attrs.AttrsInstance], prefix: str = "") -> Schema:
    properties: dict[str, Schema] = {}
    hints = get_type_hints(kind)
    for name, field in attrs.fields_dict(kind).items():
        if isinstance(hints[name], type) and attrs.has(hints[name]):
            found = _settings(hints[name], f"{name}.")
        else:
            found = _setting(hints[name])
        if isinstance(field.default, str | int | float):
            found = {**found, "default": field.default}
        properties[name] = {**found, "description": SETTINGS[prefix + name]}
    return _object(properties, optional=tuple(properties))


def config() -> Schema:
    """Return the schema of ``config.toml``."""
    return {
        "$schema": DIALECT,
        "title": "The profile of ezlink-async: config.toml",
        **_settings(Settings),
    }


def _picture(hint: object) -> Schema:
    if "Mapping" in str(hint):
        return {"type": "object"}
    about = "A path from the folder of the manifest."
    one: Schema = {"type": "string", "minLength": 1, "description": about}
    return {"type": "array", "items": one} if get_origin(hint) is tuple else one


_SWAP = ("source", "target", "mode")
_BESIDE: dict[str, Schema] = {
    "output": {
        "type": "string",
        "minLength": 1,
        "description": "The path of the result below the output folder, no suffix.",
    },
    "count": {
        "type": "integer",
        "minimum": 1,
        "maximum": 10_000,
        "description": "How many jobs to make of the row.",
    },
    "then": {**_TEXTS, "description": "The buttons to press on each result."},
}


def _row(kind: str) -> Schema:
    """Return the schema of a row with jobs of this *kind*."""
    request = KINDS[kind]
    hints = get_type_hints(request)
    properties: dict[str, Schema] = {"kind": {"const": kind}}
    required = []
    for field in attrs.fields(request):  # type: ignore[arg-type]  # each is of attrs
        hint = hints[field.name]
        if AccountFilter in {hint, *get_args(hint)}:
            continue  # no text stands for it
        if kind != FaceSwap.kind or field.name in _SWAP:
            is_picture = field.metadata.get(PICTURES)
            properties[field.name] = _picture(hint) if is_picture else _of_type(hint)
            if field.default is attrs.NOTHING:
                required.append(field.name)
    found = _object({**properties, **_BESIDE})
    found["required"] = required
    if request.further:
        found["patternProperties"] = {r"^set\..": {}}
    return found


def manifest() -> Schema:
    """Return the schema of one row of a manifest in JSON Lines."""
    return {
        "$schema": DIALECT,
        "title": "One line of a manifest of ezlink-async, in JSON Lines",
        "description": "Jobs for ezlink run, --manifest and, of swaps, --pairs.",
        "anyOf": [{"$ref": f"#/$defs/{kind}"} for kind in KINDS],
        "$defs": {kind: _row(kind) for kind in KINDS},
    }


_OUTCOME: dict[str, Schema] = {
    "output": _MAYBE,
    "task_id": _MAYBE,
    "status": {"enum": [*get_args(BatchStatus), "planned"]},
    "error": _MAYBE,
    "maybe_charged": {"type": "boolean"},
}


def _summary() -> Schema:
    counts = dict.fromkeys(("total", *get_args(BatchStatus)), _COUNT)
    known = {"running": _COUNT, "charged_usd": _NUMBER, "accounted": _COUNT}
    counts = {**counts, "seconds": _NUMBER, **known}
    return _object({"summary": _object(counts, optional=tuple(known))})


def _task() -> Schema:
    statuses = [str(status.value) for status in TaskStatus]
    return _object(
        {
            "task_id": _TEXT,
            "status": {"type": ["string", "null"], "examples": statuses},
            "progress": {"type": ["number", "null"]},
            "output": _MAYBE,
            "error": _MAYBE,
            "outputs": _TEXTS,
            "text": _TEXT,
        }
    )


def _upload() -> Schema:
    texts = ("id", "name", "url", "purpose", "created", "error")
    size: Schema = {"type": ["integer", "null"], "minimum": 0}
    return _object({"file": _TEXT, "size": size, **dict.fromkeys(texts, _MAYBE)})


def _balance() -> Schema:
    money: Schema = {"type": ["number", "null"]}
    key = _object(
        {
            **dict.fromkeys(("limit", "used", "rest"), money),
            "unlimited": {"type": ["boolean", "null"]},
            "expires": _MAYBE,
        }
    )
    account = _object(
        {
            **dict.fromkeys(("left", "used"), _NUMBER),
            "requests": _COUNT,
            "group": _MAYBE,
        }
    )
    nullable = {"type": ["object", "null"]}
    return _object(
        {
            "key": {**key, **nullable},
            "account": {**account, **nullable},
            "error": _MAYBE,
        }
    )


def json_lines() -> Schema:
    """Return the schema of one line that ``--json`` prints."""
    job = {"kind": _TEXT, "label": _TEXT, "outputs": _TEXTS, "text": _TEXT, **_OUTCOME}
    seed: Schema = {"type": ["integer", "null"]}
    model = {"id": _TEXT, "owner": _MAYBE, "created": _MAYBE}
    defined = {
        "swap": _object({"target": _TEXT, **_OUTCOME}),
        "job": _object(job),
        "summary": _summary(),
        "task": _task(),
        "seed": _object({"task_id": _TEXT, "seed": seed, "error": _MAYBE}),
        "upload": _upload(),
        "model": _object(model),
        "balance": _balance(),
    }
    return {
        "$schema": DIALECT,
        "title": "One line that ezlink prints with --json",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in defined],
        "$defs": defined,
    }


def files() -> dict[Path, str]:
    """Return the content of each file, by its path."""
    made = {"config": config(), "manifest": manifest(), "json-lines": json_lines()}
    return {
        FOLDER / f"{name}.schema.json": json.dumps(schema, indent=2) + "\n"
        for name, schema in made.items()
    }


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
