"""
Videos: submits, queries, finished files, and Doubao's own paths.

``calls`` says what a submit asks for and costs, ``providers`` what the relay makes of a
provider's answer.
"""

from ezlink_async.emulator.relay.routes import Route, with_key
from ezlink_async.emulator.relay.video import keyless
from ezlink_async.emulator.relay.video.results import (
    FILES,
    file,
    result,
    result_by_path,
)
from ezlink_async.emulator.relay.video.submits import submit

_VIDEOS = "/v1/video/generations"
_TASKS = "/api/v3/contents/generations/tasks"

ROUTES = (
    Route("POST", _VIDEOS, "video", with_key(submit)),
    Route("GET", f"{_VIDEOS}/result", "video_result", with_key(result)),
    Route("POST", _TASKS, "video", with_key(submit)),
    Route("GET", f"{_TASKS}/([^/]+)", "video_result", with_key(result_by_path)),
    Route("POST", f"/doubao{_TASKS}", "video", with_key(keyless.submit)),
    Route("GET", f"/doubao{_TASKS}/([^/]+)", "video_keyless", keyless.result),
    Route("GET", f"{FILES}/([^/]+)", "video_file", file),
)
