"""
The server's catalogue of models.

Source: ``ye4293/one-api`` (``controller/model.go`` ListModels). It is built into the
server: the same for every key, with some ids of several providers, and without the
models that an operator has added. Short for a module: one call, which belongs to no
family.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ezlink_async._core.error_mapping import error_from
from ezlink_async._core.messages import (
    HttpRequest,
    HttpResponse,
    collapse_blanks,
    identifier,
)
from ezlink_async._core.records import utc_time
from ezlink_async.errors import ConfigurationError, ProtocolError
from ezlink_async.models import ModelInfo

_TASKS = 10  # lets an answer have 50,000 brackets; the server sends 1,400

_BYTES = 4 * 1024 * 1024  # the server sends 200 kB


def models_request() -> HttpRequest:
    """Ask for the catalogue."""
    return HttpRequest(
        "GET", "/v1/models", repeatable=True, tasks=_TASKS, answer_bytes=_BYTES
    )


def read_models(response: HttpResponse) -> tuple[ModelInfo, ...]:
    """
    Read the catalogue, each id once, in the server's order.

    Of several entries with one id the first counts; one without an id is left out.
    """
    if not response.ok:
        raise error_from(response)
    document = response.document
    rows = document.get("data") if isinstance(document, Mapping) else None
    if not isinstance(rows, list):
        raise ProtocolError(
            f"this is no catalogue of models: {response.excerpt}",
            head=response.head,
            status=response.status,
            request_id=response.request_id,
        )
    found: dict[str, ModelInfo] = {}
    for row in rows:
        model = _model(row) if isinstance(row, Mapping) else None
        if model is not None:
            found.setdefault(model.id, model)
    return tuple(found.values())


def _model(row: Mapping[str, object]) -> ModelInfo | None:
    model_id, created = identifier(row.get("id")), row.get("created")
    if not model_id:
        return None
    return ModelInfo(
        id=model_id,
        owner=collapse_blanks(row.get("owned_by")),
        created=utc_time(created) if isinstance(created, int | float) else None,
    )


def search_word(contains: object) -> str:
    """Return the word to look for; :exc:`ConfigurationError` unless it is text."""
    if contains is None:
        return ""
    if not isinstance(contains, str):
        raise ConfigurationError(f"a word of models is text, not {contains!r:.80}")
    return contains.casefold()


def models_with(models: Iterable[ModelInfo], word: str) -> tuple[ModelInfo, ...]:
    """Return the *models* whose id has *word* in it, as :func:`search_word` made it."""
    return tuple(model for model in models if word in model.id.casefold())
