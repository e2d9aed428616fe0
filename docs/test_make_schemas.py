"""The JSON schemas are the ones that are made, and what they describe is real."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from docs.make_schemas import SETTINGS, config, files, json_lines, manifest
from ezlink_async._core.settings import Options, SettingsSources, resolve
from ezlink_async.batch import read_manifest
from ezlink_async.cli import run
from ezlink_async.emulator import in_thread
from ezlink_async.errors import ConfigurationError

SAMPLES = Path(__file__).parent / "samples"
SOURCE, TARGET = SAMPLES / "astronaut.jpg", SAMPLES / "hopper.jpg"

PROFILES = [
    "",
    'api_key = "sk-1"\nmax_concurrency = 4\nslot_timeout = 1.5',
    "[poll]\ndeadline = 60\n[retry]\nresubmit_unknown = true\n[timeouts]\nclose = 1",
]
WRONG_PROFILES = [
    "max_concurrency = 0",
    "max_uploads = 1.5",
    "slot_timeout = -1",
    "base_url = 7",
    "colour = 1",
    "[poll]\nsecond = 2",
    'poll = "often"',
    "[retry]\nresubmit_unknown = 2",
]

ROWS: list[dict[str, object]] = [
    {"kind": "swap", "source": "a.jpg", "target": "b.jpg", "mode": "relax"},
    {"kind": "imagine", "prompt": "a fox", "images": ["a.png"], "bot": "niji"},
    {"kind": "imagine", "prompt": "a", "then": ["U1"], "count": 2, "output": "a/b"},
    {"kind": "blend", "images": ["a.png", "b.png"], "dimensions": "square"},
    {"kind": "describe", "image": "a.png"},
    {"kind": "shorten", "prompt": "a very red fox"},
    {"kind": "action", "task": "1", "button": "MJ::JOB::upsample::1::abc"},
    {"kind": "change", "task": "1", "what": "upscale", "index": 1},
    {"kind": "modal", "task": "1", "prompt": "a hat", "again": True, "mask": "m.png"},
    {"kind": "video", "model": "kling-v1", "prompt": "it walks", "seconds": 5},
    {"kind": "video", "model": "kling-v1", "body": {"prompt": "x"}, "set.mode": "pro"},
    {"kind": "image", "model": "kling-v2", "prompt": "a fox", "n": 2},
    {"kind": "flux", "model": "flux-dev", "prompt": "a fox", "set.raw": True},
]
WRONG_ROWS: list[dict[str, object]] = [
    {"kind": "paint", "prompt": "a fox"},
    {"kind": "imagine"},
    {"kind": "imagine", "prompt": "a fox", "colour": "red"},
    {"kind": "imagine", "prompt": "a fox", "images": "a.png"},
    {"kind": "imagine", "prompt": "a fox", "count": 0},
    {"kind": "imagine", "prompt": "a fox", "then": "U1"},
    {"kind": "imagine", "prompt": "a fox", "set.raw": True},
    {"kind": "imagine", "prompt": "a fox", "account_filter": {"instance_id": "1"}},
    {"kind": "swap", "source": "a.jpg"},
    {"kind": "blend", "images": ["a.png", "b.png"], "dimensions": "wide"},
]


def _fits(value: object, schema: dict[str, object]) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_file_is_the_one_that_is_made(path: Path) -> None:
    """After a change of a field run ``python docs/make_schemas.py``."""
    assert path.read_text(encoding="utf-8") == files()[path]
    jsonschema.Draft202012Validator.check_schema(json.loads(files()[path]))


def test_each_description_is_of_a_setting() -> None:
    described = set()
    properties: dict[str, dict[str, dict[str, object]]] = config()["properties"]  # type: ignore[assignment]  # that is its shape
    for name, schema in properties.items():
        described |= {
            name,
            *(f"{name}.{each}" for each in schema.get("properties", ())),
        }
    assert described == set(SETTINGS)


@pytest.mark.parametrize("text", PROFILES)
def test_profile_that_is_read_fits_the_schema(text: str) -> None:
    profile = tomllib.loads(text)
    resolve(Options(api_key="sk-1"), SettingsSources({}, profile))
    assert _fits(profile, config())


@pytest.mark.parametrize("text", WRONG_PROFILES)
def test_profile_that_is_refused_does_not_fit_the_schema(text: str) -> None:
    profile = {"api_key": "sk-1", **tomllib.loads(text)}
    with pytest.raises(ConfigurationError):
        resolve(Options(), SettingsSources({}, profile))
    assert not _fits(profile, config())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["kind"])
def test_row_that_is_read_fits_the_schema(
    row: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text(json.dumps(row))
    assert list(read_manifest(path))
    assert _fits(row, manifest())


@pytest.mark.parametrize("row", WRONG_ROWS, ids=str)
def test_row_that_is_refused_does_not_fit_the_schema(
    row: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(ConfigurationError):
        list(read_manifest(path))
    assert not _fits(row, manifest())


def test_row_without_a_kind_may_be_of_any() -> None:
    assert _fits({"prompt": "a fox"}, manifest())
    assert _fits({"source": "a.jpg", "target": "b.jpg", "output": "c"}, manifest())


def _printed(
    capsys: pytest.CaptureFixture[str], *arguments: object
) -> list[dict[str, object]]:
    capsys.readouterr()
    run([*map(str, arguments), "--json"])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _check(name: str, rows: list[dict[str, object]]) -> None:
    """All *rows* are of that kind, and so of exactly one."""
    schema = json_lines()
    assert rows
    for row in rows:
        jsonschema.validate(row, schema)
        jsonschema.validate(row, {**schema, "oneOf": [{"$ref": f"#/$defs/{name}"}]})


@pytest.mark.usefixtures("account")
def test_lines_of_swaps_fit_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.jpg").write_bytes(b"no picture")
    swap = ("swap", SOURCE, TARGET, "broken.jpg", "--output", "out")
    for arguments in ((*swap, "--dry-run"), swap, swap):
        *lines, summary = _printed(capsys, *arguments)
        _check("swap", lines)
        _check("summary", [summary])


@pytest.mark.usefixtures("account")
def test_lines_of_other_jobs_and_of_tasks_fit_the_schema(
    capsys: pytest.CaptureFixture[str],
) -> None:
    jobs = _printed(capsys, "imagine", "a fox", "--then", "U2", "--output", "out")
    jobs += _printed(capsys, "describe", TARGET, "--output", "texts")
    _check("job", [row for row in jobs if "summary" not in row])
    _check("summary", [row for row in jobs if "summary" in row])
    ids = [row["task_id"] for row in jobs if "task_id" in row]
    _check("task", _printed(capsys, "task", *ids, "no-such-task"))
    _check("task", _printed(capsys, "task", *ids, "--output", "again"))
    _check("seed", _printed(capsys, "seed", *ids, "no-such-task"))


@pytest.mark.usefixtures("account")
def test_lines_about_the_server_fit_the_schema(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _check("model", _printed(capsys, "models"))
    _check("balance", _printed(capsys, "balance"))
    _check("upload", _printed(capsys, "upload", TARGET, "missing.jpg"))
    _check("upload", _printed(capsys, "upload", TARGET))


@pytest.mark.usefixtures("account")
def test_line_about_an_account_and_its_charges_fits_the_schema(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_thread() as server:
        monkeypatch.setenv("EZLINK_API_KEY", server.api_key)
        monkeypatch.setenv("EZLINK_BASE_URL", server.base_url)
        monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", server.account_token)
        (balance,) = _printed(capsys, "balance")
        assert balance["account"] is not None
        _check("balance", [balance])
        *_, summary = _printed(capsys, "swap", SOURCE, TARGET, "--output", "out")
    assert "charged_usd" in str(summary)
    _check("summary", [summary])
