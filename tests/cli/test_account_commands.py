"""``ezlink upload``, ``models`` and ``balance``: lines, JSON, exit codes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, EmulatorSettings, faults, in_thread
from tests.support.command_line import Ezlink


@pytest.fixture
def storing(monkeypatch: pytest.MonkeyPatch, stranger: None) -> Iterator[Emulator]:
    """Be a user with a key, on a server that stores files."""
    del stranger
    with in_thread(EmulatorSettings(files_work=True)) as emulator:
        monkeypatch.setenv("EZLINK_API_KEY", emulator.api_key)
        monkeypatch.setenv("EZLINK_BASE_URL", emulator.base_url)
        yield emulator


def _write(*names: str) -> None:
    for name in names:
        Path(name).write_text(name, encoding="utf-8")


def test_upload_prints_an_address_a_file(ezlink: Ezlink, storing: Emulator) -> None:
    _write("a b.txt", "c.txt")
    said = ezlink("upload", "a b.txt", "c.txt", "c.txt", "--purpose", "vision")
    assert (said.code, said.err) == (0, "")
    stored = storing.control.files
    assert len(stored) == 2
    assert {file.purpose for file in stored} == {"vision"}
    hashes = {
        hashlib.sha256(name.encode()).hexdigest() for name in ("a b.txt", "c.txt")
    }
    assert {file.sha256 for file in stored} == hashes
    lines = said.out.splitlines()
    assert sorted(lines) == sorted(file.url.replace(" ", "%20") for file in stored)


def test_upload_as_json_is_one_object_a_file(ezlink: Ezlink, storing: Emulator) -> None:
    _write("a.txt")
    said = ezlink("upload", "a.txt", "none.txt", "--json")
    assert (said.code, said.err) == (1, "")
    rows = {row["file"]: row for row in said.rows}
    (file,) = storing.control.files
    good, bad = rows["a.txt"], rows["none.txt"]
    assert {**good, "created": None} == {
        "file": "a.txt",
        "id": str(file.number),
        "name": file.name,
        "url": file.url,
        "size": 5,
        "purpose": "",
        "created": None,
        "error": None,
    }
    assert str(good["created"]).startswith("20")
    assert bad["error"] == "there is no such file"
    assert {bad[name] for name in ("id", "name", "url", "size", "created")} == {None}


def test_file_that_cannot_be_uploaded_is_called_a_file(
    ezlink: Ezlink, storing: Emulator
) -> None:
    """The library's errors about files name pictures, which these need not be."""
    Path("folder").mkdir()
    said = ezlink("upload", "none.txt", "folder")
    assert (said.code, said.out) == (1, "")
    assert sorted(said.err.splitlines()) == [
        "folder: this is not a file",
        "none.txt: there is no such file",
    ]
    assert storing.control.requests == []


def test_upload_that_the_server_refuses_says_why(
    ezlink: Ezlink, user: Emulator
) -> None:
    _write("a.txt")
    said = ezlink("upload", "a.txt")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("a.txt: RejectedError: nothing is stored: ")
    assert len(user.control.requests) == 1


@pytest.mark.usefixtures("stranger")
def test_each_command_works_with_the_built_in_server(ezlink: Ezlink) -> None:
    """No key, no network; its account has stored no file before."""
    _write("a.txt")
    said = ezlink("upload", "a.txt", "--local")
    assert (said.code, said.out.count("\n")) == (0, 1)
    assert ezlink("models", "gpt-4o", "--local").out.splitlines() == [
        "gpt-4o (openai)",
        "gpt-4o-mini (openai)",
    ]
    said = ezlink("balance", "--local")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("key: no limit, 0.00 USD used\naccount: ")


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("command", ["upload a.txt", "models", "balance"])
def test_without_a_key_nothing_is_asked(ezlink: Ezlink, command: str) -> None:
    said = ezlink(*command.split())
    assert (said.code, said.out) == (2, "")
    assert "EZLINK_API_KEY" in said.err
    said = ezlink(*command.split(), "--local", "--base-url", "http://127.0.0.1:9")
    assert said.code == 2
    assert "leave out --base-url" in said.err


def test_models_are_listed_once_each(ezlink: Ezlink, user: Emulator) -> None:
    lines = ezlink("models").out.splitlines()
    assert len(set(lines)) == len(lines) > 50
    assert "swap_face (midjourney)" in lines
    said = ezlink("models", "sWAP", "--json")
    assert said.rows == [
        {
            "id": "swap_face",
            "owner": "midjourney",
            "created": "2021-07-20T10:40:00+00:00",
        }
    ]
    said = ezlink("models", "nothing-like-it")
    assert (said.code, said.out) == (1, "")
    assert said.err == "the catalogue has no model with 'nothing-like-it' in it\n"
    page = {"data": [{"id": "bare"}]}
    user.control.script("models", faults.Answer(200, json.dumps(page)))
    assert ezlink("models").out == "bare\n"
    user.control.script("models", faults.Answer(200, json.dumps(page)))
    bare = {"id": "bare", "owner": "", "created": None}
    assert ezlink("models", "--json").rows == [bare]


def test_balance_shows_the_key_and_with_a_token_the_account(
    ezlink: Ezlink, user: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ezlink("balance")
    key = "key: limit 2,000.00 USD, 0.00 USD used, 2,000.00 USD left\n"
    assert (said.code, said.out) == (0, key)
    assert "set EZLINK_ACCOUNT_TOKEN" in said.err
    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", user.account_token)
    said = ezlink("balance")
    account = "account: 2,000.00 USD left, 0.00 USD used, 0 requests charged\n"
    assert (said.code, said.out, said.err) == (0, key + account, "")
    (row,) = ezlink("balance", "--json").rows
    assert row == {
        "key": {
            "limit": 2000,
            "used": 0,
            "rest": 2000,
            "unlimited": False,
            "expires": None,
        },
        "account": {"left": 2000, "used": 0, "requests": 0, "group": "Lv1"},
        "error": None,
    }


def test_balance_of_a_key_that_expires_says_when(
    ezlink: Ezlink, user: Emulator
) -> None:
    user.control.set_key(user.api_key, expires=4_102_444_800)
    assert "expires 2100-01-01" in ezlink("balance").out
    (row,) = ezlink("balance", "--json").rows
    shown = row["key"]
    assert isinstance(shown, dict)
    assert shown["expires"] == "2100-01-01T00:00:00+00:00"
    assert row["account"] is None


def test_balance_of_an_empty_key_still_shows_the_account(
    ezlink: Ezlink, user: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.control.set_key(user.api_key, quota=0)
    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", user.account_token)
    said = ezlink("balance")
    assert said.code == 1
    assert said.out.startswith("account: 2,000.00 USD left")
    assert "key: QuotaError: " in said.err
    said = ezlink("balance", "--json")
    assert (said.code, said.rows[0]["key"]) == (1, None)
    assert "QuotaError" in str(said.rows[0]["error"])
