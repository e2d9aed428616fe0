"""
Make the page of what is covered of the documented API.

``python docs/make_coverage.py`` writes ``docs/reference/coverage.md`` from the rows
below, the documented navigation in ``tests/data/navigation.json``, and the recorded
exchanges, which are counted. ``docs/test_coverage_page.py`` checks each row.
"""

from __future__ import annotations

import json
from fnmatch import fnmatch
from functools import cache
from itertools import groupby
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "coverage.md"
NAVIGATION = ROOT / "tests" / "data" / "navigation.json"
SAMPLES = ROOT / "tests" / "samples"


@attrs.frozen
class Entry:
    """One entry of the documented navigation; *meaning* is its name in English."""

    folder: str
    name: str
    meaning: str


@attrs.frozen(kw_only=True)
class Row:
    """
    What the package has for one entry.

    *calls* are names a user writes, *commands* those of ``ezlink``, *kinds* those of
    the emulator's requests, *samples* patterns of recorded exchanges, *tests* the ids
    of tests that show it over a socket or from a recording. *today* says what the
    server does.
    """

    calls: tuple[str, ...]
    commands: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    tests: tuple[str, ...]
    today: str


_END = "tests/end_to_end"
_MIDJOURNEY = f"{_END}/test_midjourney.py::test_"
_FILES = f"{_END}/test_files.py::test_"
_LLM = f"{_END}/test_llm.py::test_"
_PICTURES = f"{_END}/test_pictures.py::test_"
_VIDEOS = f"{_END}/test_video.py::test_"
_RECORDED = "test_recorded_answer_becomes_the_outcome_beside_its_name"
_JOB = "tests/cli/test_job_commands.py::test_job_is_charged_once_and_its_result_saved"
_AGREES = "tests/emulator/test_samples.py::test_emulator_answers_as_the_recorded_server"


def _openai(call: str, *samples: str, today: str = "works", test: str) -> Row:
    return Row(
        calls=(f"ez.openai().{call}",),
        kinds=("llm",),
        samples=samples,
        tests=(f"{_LLM}{test}",),
        today=today,
    )


def _of_all(today: str, *calls: str) -> Row:
    return Row(
        calls=calls or ("ezlink_async.AsyncEzlink",),
        commands=("doctor",),
        kinds=("fetch",),
        samples=("auth-*",),
        tests=(f"tests/core/test_samples.py::{_RECORDED}", _AGREES),
        today=today,
    )


def _stability(call: str, name: str, today: str = "removed: a 404 page") -> Row:
    return Row(
        calls=(f"ez.stability.{call}",),
        commands=("stability",),
        kinds=("stability",),
        samples=("stability-*",),
        tests=(f"{_END}/test_stability.py::test_{name}",),
        today=today,
    )


def _midjourney(call: str, *tests: str, today: str = "works", command: str) -> Row:
    return Row(
        calls=(f"ez.midjourney.{call}",),
        commands=(command,),
        kinds=(call,),
        samples=(f"{call}-*",),
        tests=(*(f"{_MIDJOURNEY}{test}" for test in tests), _JOB),
        today=today,
    )


_CHAT = "chat_is_answered_and_streamed"
_SPEECH = "speech_and_transcription_come_back"
_IMAGE = "picture_is_made_and_edited"
_ONE_CALL = "single_pictures_are_made_edited_and_controlled"
_TASKS = "tasks_are_polled_and_saved"
_LOST_TEXT = "works; the server may lose the text"
_DRAWN = "upscale_2_is_the_second_tile_of_the_grid"
_TEXTS = "texts_come_with_their_records"
_REGION = "region_changes_only_what_the_mask_leaves_white"

#: A row for each entry, by its meaning.
ROWS: dict[str, Row] = {
    "introduction": _of_all("pages without a call"),
    "about the project": _of_all("pages without a call"),
    "preface": _of_all("pages without a call"),
    "authentication": _of_all("`Authorization: Bearer sk-...` on every path"),
    "making requests": _of_all("as documented; the pages have no bodies of errors"),
    "parameters": _of_all("the pages have no bodies of errors", "ezlink_async.errors"),
    "create speech": _openai("audio.speech.create", "audio-speech*", test=_SPEECH),
    "create transcription": _openai(
        "audio.transcriptions.create",
        "audio-transcription*",
        today="works; each error of the upstream is a 500",
        test=_SPEECH,
    ),
    "create translation": _openai(
        "audio.translations.create",
        "audio-*",
        today="works; each error of the upstream is a 500",
        test=_SPEECH,
    ),
    "chat completion object": _openai("chat.completions.create", "chat-*", test=_CHAT),
    "chat completion chunk object": Row(
        calls=(
            "ez.openai().chat.completions.create",
            "ezlink_async.llm.checked_stream",
        ),
        kinds=("llm",),
        samples=("chat-stream*",),
        tests=(f"{_LLM}{_CHAT}",),
        today="works; a stream that breaks off ends cleanly",
    ),
    "create chat completion": Row(
        calls=("ez.openai().chat.completions.create", "ezlink_async.llm.checked"),
        kinds=("llm",),
        samples=("chat-*",),
        tests=(f"{_LLM}{_CHAT}",),
        today="works; an error may come under status 200",
    ),
    "completion object": _openai("completions.create", "completions-*", test=_CHAT),
    "create completion": _openai(
        "completions.create",
        "completions-*",
        today="works; never with `max_tokens`, which the server renames",
        test=_CHAT,
    ),
    "embedding object": _openai("embeddings.create", "embeddings-*", test=_CHAT),
    "create embeddings": _openai("embeddings.create", "embeddings-*", test=_CHAT),
    "images README": _openai("images.generate", "images-*", test=_IMAGE),
    "image object": _openai("images.generate", "images-*", test=_IMAGE),
    "create image": Row(
        calls=("ez.openai().images.generate", "ez.images.generate_async"),
        commands=("image",),
        kinds=("llm", "images"),
        samples=("images-generate*", "async-*"),
        tests=(f"{_LLM}{_IMAGE}", f"{_PICTURES}four_wan_pictures_give_four_files"),
        today="works, at once and as a task",
    ),
    "create image edit": _openai(
        "images.edit", "images-edit*", today="works; give `model=`", test=_IMAGE
    ),
    "create image variation": _openai(
        "images.create_variation",
        "images-variation*",
        today="refused: 400, or 501 for a model it serves",
        test=_IMAGE,
    ),
    "model object": Row(
        calls=("ezlink_async.models.ModelInfo",),
        commands=("models",),
        kinds=("models",),
        samples=("models-retrieve",),
        tests=(f"{_FILES}catalogue_has_each_id_once",),
        today="the same date for all",
    ),
    "list models": Row(
        calls=("ez.models", "ez.openai().models.list"),
        commands=("models",),
        kinds=("models",),
        samples=("models-list",),
        tests=(f"{_FILES}catalogue_has_each_id_once",),
        today="a fixed catalogue, the same for every key",
    ),
    "retrieve model": Row(
        calls=("ez.openai().models.retrieve", "ezlink_async.llm.checked"),
        commands=("models",),
        kinds=("models",),
        samples=("models-retrieve*",),
        tests=(_AGREES,),
        today="an unknown id is an error under status 200",
    ),
    "moderation object": _openai("moderations.create", "moderations-*", test=_CHAT),
    "create moderation": _openai("moderations.create", "moderations-*", test=_CHAT),
    "start image-to-video": _stability("image_to_video", _TASKS),
    "fetch image-to-video": _stability("image_to_video", _TASKS),
    "conservative upscale": _stability("upscale", _ONE_CALL),
    "start creative upscale": _stability("upscale", _TASKS),
    "fetch creative upscale": _stability("upscale", _TASKS),
    "erase": _stability("edit", _ONE_CALL),
    "inpaint": _stability("edit", _ONE_CALL),
    "outpaint": _stability("edit", _ONE_CALL),
    "search and replace": _stability("edit", _ONE_CALL),
    "remove background": _stability("edit", _ONE_CALL),
    "stable image ultra": _stability("generate", _ONE_CALL),
    "stable image core": _stability("generate", _ONE_CALL),
    "stable diffusion 3": _stability("generate", _ONE_CALL),
    "sketch": _stability("control", _ONE_CALL),
    "structure": _stability("control", _ONE_CALL),
    "style": _stability("control", _ONE_CALL, "removed; it was never served"),
    "swap_face": Row(
        calls=("ez.swap_face", "ez.swap_faces", "ezlink_async.requests.FaceSwap"),
        commands=("swap",),
        kinds=("submit",),
        samples=("swap-*",),
        tests=(f"{_END}/test_end_to_end.py::test_three_hundred_swaps", _JOB),
        today="works",
    ),
    "action": _midjourney(
        "action",
        _DRAWN,
        today="works; the buttons of describe and shorten are refused",
        command="action",
    ),
    "blend": Row(
        calls=("ez.midjourney.blend",),
        commands=("blend",),
        kinds=("blend",),
        samples=("blend-*",),
        tests=(_JOB, "tests/cli/test_imagine.py::test_blend_has_a_shape_and_buttons"),
        today="works; an empty one is paid, so it is refused here",
    ),
    "describe": _midjourney("describe", _TEXTS, today=_LOST_TEXT, command="describe"),
    "imagine": _midjourney("imagine", _DRAWN, command="imagine"),
    "modal": _midjourney(
        "modal",
        _REGION,
        "modal_is_sent_once_while_its_task_still_shows_the_dialog",
        today="works; its task is there twice",
        command="modal",
    ),
    "shorten": _midjourney("shorten", _TEXTS, today=_LOST_TEXT, command="shorten"),
    "fetch a task by its id": Row(
        calls=("ez.task", "ez.fetch_task", "ez.fetch_tasks"),
        commands=("task",),
        kinds=("fetch", "list"),
        samples=("fetch-*", "list-*"),
        tests=(
            f"{_END}/test_end_to_end.py::test_another_process_restores_a_saved_handle",
            f"tests/services/midjourney/test_recorded.py::{_RECORDED}",
        ),
        today="works",
    ),
    "image seed": Row(
        calls=("ez.midjourney.image_seed",),
        commands=("seed",),
        kinds=("seed",),
        samples=("seed-*",),
        tests=(f"{_MIDJOURNEY}seed_of_a_task_is_the_same_each_time",),
        today="needs the private channel of the operator",
    ),
    "upload a file": Row(
        calls=("ez.files.upload",),
        commands=("upload",),
        kinds=("files",),
        samples=("files-*",),
        tests=(
            f"{_FILES}path_bytes_and_iterable_are_stored_as_they_are",
            f"{_FILES}first_upload_of_an_account_is_refused_and_not_repeated",
        ),
        today="the first upload of an account never works, and so no later one",
    ),
    "create a Flux image": Row(
        calls=("ez.flux.generate",),
        commands=("flux",),
        kinds=("flux", "flux_result"),
        samples=("flux-*",),
        tests=(
            f"{_PICTURES}picture_of_flux_has_its_size_and_is_paid_once_it_is_there",
        ),
        today="works",
    ),
    "generate a video": Row(
        calls=("ez.video.generate",),
        commands=("video",),
        kinds=("video",),
        samples=("video-*",),
        tests=(
            f"{_VIDEOS}video_of_each_provider_is_paid_once_and_saved_whole",
            "tests/cli/test_video.py::test_video_of_a_prompt_is_saved_under_it",
        ),
        today="works; paid in advance",
    ),
    "query a video": Row(
        calls=("ez.task",),
        commands=("task",),
        kinds=("video_result",),
        samples=("video-*",),
        tests=(f"{_VIDEOS}finished_task_of_doubao_is_settled_once",),
        today="works; asking about a finished Doubao video is settled each time",
    ),
}


@cache
def navigation() -> tuple[str, tuple[Entry, ...]]:
    """Return the address of the documentation, and the entries of its navigation."""
    found = json.loads(NAVIGATION.read_text(encoding="utf-8"))
    return found["source"], tuple(Entry(**entry) for entry in found["entries"])


@cache
def sample_names() -> frozenset[str]:
    """Return the names of all recorded exchanges."""
    lines = (
        line
        for file in sorted(SAMPLES.glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    )
    return frozenset(json.loads(line)["name"] for line in lines)


def count(pattern: str) -> int:
    """Return how many recorded exchanges have a name that fits *pattern*."""
    return sum(fnmatch(name, pattern) for name in sample_names())


def _code(words: tuple[str, ...], prefix: str = "") -> str:
    return ", ".join(f"`{prefix}{word}`" for word in words) or "-"


def _line(entry: Entry) -> str:
    row = ROWS[entry.meaning]
    published = "" if entry.name.lower() == entry.meaning else f" ({entry.name})"
    samples = ", ".join(f"`{each}` {count(each)}" for each in row.samples)
    cells = (
        f"{entry.meaning}{published}",
        _code(row.calls),
        _code(row.commands, "ezlink "),
        _code(row.kinds),
        samples or "-",
        row.today,
    )
    return f"| {' | '.join(cells)} |"


def _tests(rows: list[Row]) -> str:
    """Return the tests of a folder, each once, by their files."""
    names = dict.fromkeys(name for row in rows for name in row.tests)
    files: dict[str, list[str]] = {}
    for name in names:
        file, _, test = name.partition("::")
        files.setdefault(file, []).append(test)
    shown = (f"`{file}`: {_code(tuple(tests))}" for file, tests in files.items())
    return "\n".join(f"- {each}" for each in shown)


_HEAD = """\
# What is covered

Each entry of the [published documentation]({source}), in its order: the call that a
program makes, the command, the kind of request that the emulator serves and disturbs,
how many exchanges were recorded on the real server, and what the server does today.
Below each table are the tests that show it. `ez` is an entered `AsyncEzlink`.

This page is made by `docs/make_coverage.py`. A test fails when an entry has no row,
when a call, a command or a test of a row does not exist, and when the page is not the
one that is made.
"""

_TABLE = """\
| entry | call | command | emulator | recorded | the server today |
| --- | --- | --- | --- | --- | --- |
"""


def page() -> str:
    """Return the text of the page."""
    source, entries = navigation()
    parts = [_HEAD.format(source=source)]
    for folder, group in groupby(entries, lambda entry: entry.folder):
        inside = list(group)
        table = _TABLE + "\n".join(map(_line, inside))
        tests = _tests([ROWS[entry.meaning] for entry in inside])
        parts.append(f"## {folder}\n\n{table}\n\nShown by\n\n{tests}\n")
    return "\n".join(parts)


def main() -> None:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
