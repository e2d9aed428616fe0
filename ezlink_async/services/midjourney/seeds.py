"""The seed of a task: the number from which its pictures were made."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ezlink_async._core.error_mapping import error_from
from ezlink_async._core.messages import (
    HttpRequest,
    HttpResponse,
    collapse_blanks,
    identifier,
)
from ezlink_async.errors import (
    ApiError,
    RejectedError,
    ServerError,
    TaskNotFoundError,
)
from ezlink_async.services.midjourney.parents import ParentTask, TaskRef
from ezlink_async.services.midjourney.submits import unreadable
from ezlink_async.services.midjourney.tasks import path_segment

_WAIT = 60.0  # seconds: the server itself waits for 30

_OK = 1

_NOT_FOUND = 3
_LOST = 5

_UNKNOWN_TASK = "task_no_found"

_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)


def seed_request(task: TaskRef) -> tuple[HttpRequest, str]:
    """Ask for the seed of *task*; return its id, too."""
    task_id = ParentTask.of(task).task_id
    path = f"/mj/task/{path_segment(task_id)}/image-seed"
    return HttpRequest("GET", path, repeatable=True, wait=_WAIT), task_id


def read_seed(response: HttpResponse, task_id: str) -> int:
    """Read the seed, or raise the error that the answer stands for."""
    body = response.document
    said = body if isinstance(body, Mapping) else {}
    code, seed = said.get("code"), identifier(said.get("result"))
    if response.ok and code == _OK and _NUMBER.fullmatch(seed):
        return int(seed)
    if type(code) is int and code != _OK:
        raise _refused(
            response, code, collapse_blanks(said.get("description")), task_id
        )
    if response.ok:
        raise unreadable(response, "the answer has no seed", task_id=task_id)
    error = error_from(response)
    error.task_id = task_id
    raise error


def _refused(
    response: HttpResponse, code: int, words: str, task_id: str
) -> ApiError | TaskNotFoundError:
    """Return the error of a refusal: the upstream's come under 200 and 404, too."""
    if code == _NOT_FOUND or _UNKNOWN_TASK in words:
        return TaskNotFoundError(
            f"the server does not know task {task_id}: {words}",
            task_id=task_id,
            request_id=response.request_id,
        )
    kind = ServerError if code == _LOST else RejectedError
    return kind(
        f"no seed of task {task_id}: {words}",
        status=response.status,
        code=code,
        description=words,
        task_id=task_id,
        request_id=response.request_id,
    )
