"""
Uploads of files.

After ye4293/one-api ``controller/fileGo.go`` UploadFile. The routes beside the upload
are not implemented there, and end at the choice of a channel, which misses a model.
Short for a module: one call, which belongs to no family.
"""

from __future__ import annotations

from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.forms import Form, FormFile, boundary_of, read_form
from ezlink_async.emulator.http.replies import JSON_UTF8, Reply, api_error, as_json
from ezlink_async.emulator.relay.routes import Route, with_key
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Account, Key, StoredFile

_MIB = 1024 * 1024
_LEVELS = {
    "Lv1": 100 * _MIB,
    "Lv2": 300 * _MIB,
    "Lv3": 500 * _MIB,
    "Lv4": 1024 * _MIB,
    "Lv5": 2048 * _MIB,
}
_FORM = "multipart/form-data"
_FIELD = "file"
_NO_BOUNDARY = "no multipart boundary param in Content-Type"
_NO_FILE = "Error retrieving the file"
_TOO_MUCH = "The total size of uploaded files exceeds your level limit"
_NO_STORAGE = "Failed to upload file to R2"
_STORED = "File uploaded successfully"
_GOOD = 300  # statuses of the storage below it

#: What the handler leaves behind when the sum of no records is NULL: nothing.
_NOTHING = Reply(200, b"", None)


async def upload(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    """Store a file, if its account has one already; free."""
    content_type = exchange.header("Content-Type")
    boundary = boundary_of(content_type)
    if content_type.startswith(_FORM) and not boundary:
        return _refused(400, _NO_BOUNDARY)
    form = Form()
    if content_type.startswith(_FORM):
        try:
            form = await read_form(exchange.blocks(), boundary)
        except ValueError:
            form = Form()
    file = form.file(_FIELD)
    if file is None:
        return _refused(500, _NO_FILE)
    earlier = [each for each in state.store.files if each.account == key.account.number]
    if not earlier and not state.settings.files_work:
        return _NOTHING
    if sum(each.size for each in earlier) + file.size > _limit(state, key.account):
        return _refused(400, _TOO_MUCH)
    storage = exchange.overrides.upstream
    if storage is not None and (storage.broken or storage.status >= _GOOD):
        return _refused(500, _NO_STORAGE)
    return _stored(state, key.account, file, form.fields.get("Purpose", ""))


def _limit(state: RelayState, account: Account) -> int:
    given = state.settings.files_limit
    # A group that is no level may store nothing at all.
    return _LEVELS.get(account.group, -1) if given is None else given


def _stored(state: RelayState, account: Account, file: FormFile, purpose: str) -> Reply:
    record = StoredFile(
        number=state.store.next_number(),
        account=account.number,
        name=file.name,
        purpose=purpose,
        size=file.size,
        sha256=file.sha256,
        content_type=file.content_type,
        seconds=state.seconds,
    )
    state.store.files.append(record)
    body = {"file": record.shown(), "message": _STORED, "success": True}
    return as_json(body, content_type=JSON_UTF8)


def _refused(status: int, message: str) -> Reply:
    body = {"message": message, "success": False}
    return as_json(body, status=status, content_type=JSON_UTF8)


async def no_model(_state: RelayState, exchange: Exchange, _key: Key) -> Reply:
    """Refuse a call that no channel is chosen for."""
    return api_error(400, "Model name is required", exchange.request_id)


ROUTES = (
    Route("POST", "/v1/files", "files", with_key(upload)),
    Route("GET", "/v1/files(?:/[^/]+(?:/content)?)?", "files", with_key(no_model)),
    Route("DELETE", "/v1/files/[^/]+", "files", with_key(no_model)),
)
