"""
The providers of pictures: what they answer, and the sketches they make.

Bodies are those of docs.bfl.ai (Flux), of Kling's and of Wan's public interfaces. A
picture follows from the request alone; it is drawn when it is asked for, so none is
kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from attrs import frozen

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.pictures import sketch
from ezlink_async.emulator.upstream.tasks import UpstreamTask

LINK_SECONDS = 600
"""How long a link of Flux leads to its picture."""

_SMALLEST, _LARGEST = 64, 2048
_SIDE = 1024
_SIZE = re.compile(r"([0-9]{1,5})\s*[*x:]\s*([0-9]{1,5})")
_MEGAPIXEL = 1_000_000
_DIGITS = 16

_BFL = {"SUCCESS": "Ready", "FAILURE": "Error", "CANCEL": "Error"}
_KLING = {"SUCCESS": "succeed", "FAILURE": "failed", "CANCEL": "failed"}
_WAN = {"SUCCESS": "SUCCEEDED", "FAILURE": "FAILED", "CANCEL": "CANCELED"}
_MODERATED = ("Request Moderated", "Content Moderated")


@frozen(kw_only=True)
class Painting:
    """What a request asks for: *count* pictures of one size."""

    prompt: str
    digest: str
    width: int = _SIDE
    height: int = _SIDE
    count: int = 1
    seed: int | None = None
    expires: bool = False

    @property
    def shown_seed(self) -> int:
        """The seed that was asked for, else one that follows from the request."""
        return int(self.digest[:8], _DIGITS) if self.seed is None else self.seed

    def draw(self, number: int) -> bytes:
        """Return picture *number*, from 1, as the bytes of a PNG."""
        name = f"{self.digest} {number}"
        return sketch.single(name, self.prompt, self.width, self.height).to_png()


def read_painting(
    model: str, fields: Mapping[str, object], count: int, *, expires: bool
) -> Painting:
    """Return what *fields*, the body for any provider, ask *model* for."""
    inner = [_mapping(fields.get(name)) for name in ("input", "parameters")]
    every = {**fields, **inner[0], **inner[1]}
    text = go_json.dumps([model, go_json.ordered(every)])
    seed = every.get("seed")
    width, height = _size_of(every)
    return Painting(
        prompt=str(every.get("prompt") or ""),
        digest=hashlib.sha256(text).hexdigest(),
        width=width,
        height=height,
        count=count,
        seed=seed if type(seed) is int else None,
        expires=expires,
    )


def _size_of(fields: Mapping[str, object]) -> tuple[int, int]:
    width, height = fields.get("width"), fields.get("height")
    if type(width) is int and type(height) is int:
        return _bounded(width), _bounded(height)
    if size := _SIZE.fullmatch(str(fields.get("size") or "")):
        return _bounded(int(size[1])), _bounded(int(size[2]))
    if ratio := _SIZE.fullmatch(str(fields.get("aspect_ratio") or "")):
        share = (int(ratio[1]) or 1) / (int(ratio[2]) or 1)
        wide = round(_SIDE * share**0.5)
        return _bounded(wide), _bounded(round(wide / share))
    return _SIDE, _SIDE


def _bounded(pixels: int) -> int:
    return min(max(pixels, _SMALLEST), _LARGEST)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


# Acceptances


def bfl_accepted(task: UpstreamTask, painting: Painting) -> dict[str, object]:
    """Return what Flux answers to a submit."""
    megapixels = round(painting.width * painting.height / _MEGAPIXEL, 2)
    return {
        "id": task.task_id,
        "polling_url": f"https://api.example/v1/get_result?id={task.task_id}",
        "input_mp": 0,
        "output_mp": megapixels,
    }


def kling_accepted(task: UpstreamTask) -> dict[str, object]:
    """Return what Kling answers to a submit."""
    data = {"task_id": task.task_id, "task_status": "submitted"}
    return {"code": 0, "message": "SUCCEED", "data": data}


def wan_accepted(task: UpstreamTask) -> dict[str, object]:
    """Return what Wan answers to a submit."""
    return {"output": {"task_id": task.task_id, "task_status": "PENDING"}}


# Results


def bfl_result(task: UpstreamTask, painting: Painting, base: str) -> dict[str, object]:
    """Return what Flux answers to a query; *base* is where pictures are."""
    word, reason = task.status, str(task.view["failReason"] or "")
    status = word if word in _MODERATED else _BFL.get(word, "Pending")
    answer: dict[str, object] = {"id": task.task_id, "status": status, "result": None}
    if status == "Ready":
        answer["result"] = {
            "sample": addresses(task, painting, base)[0],
            "prompt": painting.prompt,
            "seed": painting.shown_seed,
        }
    elif status in _MODERATED:
        answer["details"] = {"Moderation Reasons": [reason or "Safety Filter"]}
    elif status == "Error":
        answer["error"] = reason
    return answer


def kling_result(
    task: UpstreamTask, painting: Painting, base: str
) -> dict[str, object]:
    """Return what Kling answers to a query."""
    status = _KLING.get(task.status, "processing")
    data: dict[str, object] = {"task_id": task.task_id, "task_status": status}
    if status == "succeed":
        found = addresses(task, painting, base)
        images = [{"index": index, "url": url} for index, url in enumerate(found)]
        data["task_result"] = {"images": images}
    return {"code": 0, "message": "SUCCEED", "data": data}


def wan_result(task: UpstreamTask, painting: Painting, base: str) -> dict[str, object]:
    """Return what Wan answers to a query."""
    status = _WAN.get(task.status, "RUNNING")
    output: dict[str, object] = {"task_id": task.task_id, "task_status": status}
    if status == "SUCCEEDED":
        output["results"] = [{"url": url} for url in addresses(task, painting, base)]
    elif status != "RUNNING":
        output["message"] = str(task.view["failReason"] or "")
    return {"output": output}


def addresses(task: UpstreamTask, painting: Painting, base: str) -> list[str]:
    """Return where the pictures of a finished task are; links of Flux end."""
    ended = task.view["finishTime"]
    until = (ended if isinstance(ended, int) else 0) // 1000 + LINK_SECONDS
    query = f"?se={until}" if painting.expires else ""
    numbers = range(1, painting.count + 1)
    return [
        f"{base}/__emu/pictures/{task.task_id}/{number}.png{query}"
        for number in numbers
    ]
