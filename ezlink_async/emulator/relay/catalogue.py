"""
The catalogue of models: the list, and one model.

After ye4293/one-api ``controller/model.go``. The real catalogue has 463 entries with
389 different ids of 19 owners; this one has some of each kind, and ids of several
owners too.
"""

from __future__ import annotations

from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import JSON_UTF8, Reply, api_error, as_json
from ezlink_async.emulator.relay.routes import Route, with_key
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Key

_CREATED = 1626777600  # the same for all

_PERMISSION = {
    "id": "modelperm-LwHkVFn8AcMItP432fKKDIKJ",
    "object": "model_permission",
    "created": _CREATED,
    "allow_create_engine": True,
    "allow_sampling": True,
    "allow_logprobs": True,
    "allow_search_indices": False,
    "allow_view": True,
    "allow_fine_tuning": False,
    "organization": "*",
    "group": None,
    "is_blocking": False,
}

_CLAUDE = ("claude-3-haiku-20240307", "claude-3-5-sonnet-20241022")
_GEMINI = ("gemini-1.5-pro", "gemini-2.0-flash", "gemini-2.5-pro")
_CATALOGUE: dict[str, tuple[str, ...]] = {
    "openai": (
        *("gpt-3.5-turbo", "gpt-4", "gpt-4-turbo", "gpt-4o", "gpt-4o-mini", "o1"),
        *("text-embedding-ada-002", "text-embedding-3-small", "text-embedding-3-large"),
        *("text-moderation-latest", "text-moderation-stable", "dall-e-2", "dall-e-3"),
        *("gpt-image-1", "whisper-1", "tts-1", "tts-1-hd", "babbage-002", "sora-2"),
    ),
    "anthropic": _CLAUDE,
    "aws": _CLAUDE,
    "vertexai": (*_CLAUDE, *_GEMINI, "veo-2.0-generate-001", "veo-3.0-generate-001"),
    "google gemini": _GEMINI,
    "midjourney": (
        *("mj_imagine", "mj_blend", "mj_describe", "mj_shorten", "mj_modal"),
        *("mj_upscale", "mj_variation", "mj_reroll", "mj_zoom", "mj_pan"),
        *("mj_inpaint", "mj_custom_zoom", "swap_face"),
    ),
    "flux": ("flux-dev", "flux-pro-1.1", "flux-kontext-pro", "flux-2-pro"),
    "kling": ("kling-v1", "kling-v1-6", "kling-v2-master"),
    "ali": ("qwen-turbo", "qwen-plus", "qwen-max", "wan2.2-t2v-plus"),
    "doubao": ("doubao-seedance-1-0-pro", "doubao-1-5-pro-32k"),
    "minimax": ("abab6.5s-chat", "MiniMax-Hailuo-02", "T2V-01"),
    "runway": ("gen3a_turbo",),
    "luma": ("luma-ray",),
    "xai": ("grok-2-1212", "grok-imagine-video"),
    "cohere": ("command-r", "command-r-plus"),
    "deepseek": ("deepseek-chat", "deepseek-reasoner"),
    "zhipu": ("glm-4", "glm-4v", "cogvideox"),
    "mistralai": ("mistral-large-latest", "open-mixtral-8x7b"),
    "moonshot": ("moonshot-v1-8k", "moonshot-v1-32k"),
}

#: The last owner of an id, as in the server's own map.
_OWNERS = {model: owner for owner, models in _CATALOGUE.items() for model in models}


def _shown(model: str, owner: str) -> dict[str, object]:
    return {
        "id": model,
        "object": "model",
        "created": _CREATED,
        "owned_by": owner,
        "permission": [_PERMISSION],
        "root": model,
        "parent": None,
    }


async def list_models(_state: RelayState, _exchange: Exchange, _key: Key) -> Reply:
    """List all, an id of several owners several times."""
    rows = [_shown(each, owner) for owner, ids in _CATALOGUE.items() for each in ids]
    return as_json({"data": rows, "object": "list"}, content_type=JSON_UTF8)


async def show_model(_state: RelayState, exchange: Exchange, _key: Key) -> Reply:
    """Show one model; an unknown one is an error under status 200."""
    model = exchange.task_id
    if model in _OWNERS:
        return as_json(_shown(model, _OWNERS[model]), content_type=JSON_UTF8)
    error = {
        "message": f"The model '{model}' does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    return as_json({"error": error}, content_type=JSON_UTF8)


async def delete_model(_state: RelayState, exchange: Exchange, _key: Key) -> Reply:
    """Refuse: the route is not implemented, and no channel is chosen for it."""
    return api_error(400, "Model name is required", exchange.request_id)


ROUTES = (
    Route("GET", "/v1/models", "models", with_key(list_models)),
    Route("GET", "/v1/models/([^/]+)", "models", with_key(show_model)),
    Route("DELETE", "/v1/models/([^/]+)", "models", with_key(delete_model)),
)
