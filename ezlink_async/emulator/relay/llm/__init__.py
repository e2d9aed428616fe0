"""
Language models and their like: texts, pictures and sounds on the paths of OpenAI.

``handlers`` has the order of things, ``calls`` what is read of a call, ``prices`` what
it costs, ``answers`` what becomes of the upstream's answer, ``usage`` what the answer
says of tokens. The upstream is a stand-in: ``stand_ins`` for texts, ``pictures`` and
``sounds``; a test scripts other answers with ``faults.Upstream`` for the kind ``llm``.
"""

from ezlink_async.emulator.relay.llm import handlers, pictures, stand_ins
from ezlink_async.emulator.relay.llm.handlers import Handler
from ezlink_async.emulator.relay.routes import Route, with_key


def _route(path: str, handler: Handler) -> Route:
    key_handler = with_key(handlers.serve(path, handler))
    return Route("POST", f"/v1/{path}", "llm", key_handler)


ROUTES = (
    _route("chat/completions", handlers.text(stand_ins.chat)),
    _route("completions", handlers.text(stand_ins.completion)),
    _route("embeddings", handlers.text(stand_ins.embeddings)),
    _route("moderations", handlers.text(stand_ins.moderation)),
    _route("images/generations", handlers.picture),
    _route("images/edits", handlers.picture),
    _route("images/variations", handlers.no_handler),
    _route("audio/speech", handlers.speech),
    _route("audio/transcriptions", handlers.transcription),
    _route("audio/translations", handlers.transcription),
    Route("GET", f"{pictures.PATH}([^/]+)", "", pictures.show),
)
