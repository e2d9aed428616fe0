"""
What a refusal means, by its shape first and by its status second.

Numbers such as E17 are this project's own list of edge cases.
"""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async import errors
from ezlink_async._core import error_mapping
from ezlink_async._core.messages import HttpResponse

ID = " (request id: 20261122170000123456781234)"
DATE = "Mon, 23 Nov 2026 06:36:27 GMT"


def _answer(status: int, body: object, **headers: str) -> HttpResponse:
    plain = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, named, plain, url="https://here/mj/insight-face/swap")


def _gate(status: int, message: str, kind: str = "api_error") -> HttpResponse:
    """Answer as everything in front of the handlers does."""
    return _answer(status, {"error": {"message": message, "type": kind}})


def _handler(code: int, description: str, status: int = 400) -> HttpResponse:
    """Answer as the handlers of the swap do."""
    body = {"code": code, "description": description, "type": "upstream_error"}
    return _answer(status, body)


def _submit(response: HttpResponse) -> errors.EzlinkError:
    return error_mapping.error_from(response, submit=True)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        pytest.param(401, "Token not provided", errors.AuthenticationError, id="e1"),
        pytest.param(401, "The token has expired", errors.AuthenticationError, id="e2"),
        pytest.param(401, "Token verification failed", errors.ServerError, id="e3"),
        pytest.param(
            403, "User has been banned", errors.PermissionDeniedError, id="e4"
        ),
        pytest.param(
            403,
            "Ordinary users do not support designated channels",
            errors.PermissionDeniedError,
            id="e6",
        ),
        pytest.param(
            401, "The token quota has been exhausted", errors.QuotaError, id="e7"
        ),
        pytest.param(400, "Model name is required", errors.RejectedError, id="e8"),
        pytest.param(500, "no such table: users", errors.ServerError, id="user"),
        pytest.param(
            503,
            "There are no channels available for model swap_face under Lv1",
            errors.ServerError,
            id="e23",
        ),
        pytest.param(
            503,
            "Database consistency has been violated",
            errors.ServerError,
            id="database",
        ),
        pytest.param(429, "slow down", errors.BusyError, id="busy"),
    ],
)
def test_what_stands_in_front_refuses_before_anything_happens(
    status: int, message: str, kind: type[errors.ApiError]
) -> None:
    """Key, account and channel are judged first, so no job was created."""
    error = _submit(_gate(status, message + ID))
    assert type(error) is kind
    assert (error.retry_safe, error.maybe_charged) == (True, False)
    assert isinstance(error, errors.ApiError)
    assert error.status == status
    assert message in error.description


@pytest.mark.parametrize(
    ("code", "description", "kind", "safe"),
    [
        pytest.param(
            4,
            "sour_base64_and_target_base64_is_required ",
            errors.RejectedError,
            True,
            id="e9",
        ),
        pytest.param(
            4, "bind_request_body_failed ", errors.RejectedError, True, id="e10"
        ),
        pytest.param(
            4, "User quota is not enough Error", errors.QuotaError, True, id="e11"
        ),
        pytest.param(
            4, "Failed to get user quota Error", errors.ServerError, True, id="quota"
        ),
        pytest.param(
            9, "提交失败，队列已满，请稍后重试 ", errors.BusyError, True, id="e16-9"
        ),
        pytest.param(9, "Queue is FULL", errors.BusyError, True, id="e16-english"),
        pytest.param(23, "队列已满 1400", errors.BusyError, True, id="e16-23"),
        pytest.param(9, "系统异常 ", errors.RejectedError, True, id="9-other"),
        pytest.param(5, "do_request_failed ", errors.ServerError, False, id="e18"),
        pytest.param(5, "empty_response_body ", errors.ServerError, True, id="e19"),
        pytest.param(
            5, "unmarshal_response_body_failed ", errors.ServerError, False, id="e20"
        ),
        pytest.param(5, "read_request_body_failed ", errors.ServerError, True, id="r"),
        pytest.param(
            5, "marshal_request_body_failed", errors.ServerError, True, id="m"
        ),
        pytest.param(5, "close_body_failed ", errors.ServerError, False, id="close"),
        pytest.param(
            5, "create_request_failed ", errors.ServerError, True, id="create"
        ),
        pytest.param(-1, " ", errors.RejectedError, True, id="e21"),
        pytest.param(0, " ", errors.RejectedError, True, id="e21-0"),
        pytest.param(4, "人脸图片格式错误 ", errors.RejectedError, True, id="e24"),
        pytest.param(24, "可能包含敏感词 ", errors.RejectedError, True, id="banned"),
    ],
)
def test_a_handler_says_no_by_code_and_words(
    code: int, description: str, kind: type[errors.ApiError], *, safe: bool
) -> None:
    """The same status means many things; code and words tell which, and if safe."""
    error = _submit(_handler(code, description))
    assert type(error) is kind
    assert (error.retry_safe, error.maybe_charged) == (safe, False)
    assert isinstance(error, errors.ApiError)
    assert error.code == code


def test_e17_a_saturated_server_is_busy() -> None:
    """Code 30 under 429 asks for a pause and names none."""
    error = _submit(_handler(30, "x The current group load is saturated.", 429))
    assert isinstance(error, errors.BusyError)
    assert error.retry_safe
    assert error.retry_after is None


@pytest.mark.parametrize(
    "description",
    ["insert_midjourney_task_failed ", " Insert midjourneyTask failed Error"],
)
def test_e22_a_lost_row_is_paid_and_unknown(description: str) -> None:
    """The server took the money and lost the id: never safe, never silent."""
    for status in (400, 429):
        error = _submit(_handler(4, description, status))
        assert isinstance(error, errors.SubmitUnknownError)
        assert (error.retry_safe, error.maybe_charged) == (False, True)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        pytest.param(404, b"<html>", errors.EndpointNotSupportedError, id="e42"),
        pytest.param(300, b"", errors.EndpointNotSupportedError, id="300"),
        pytest.param(307, b"", errors.EndpointNotSupportedError, id="e44"),
        pytest.param(399, b"", errors.EndpointNotSupportedError, id="399"),
        pytest.param(501, b"", errors.EndpointNotSupportedError, id="501"),
        pytest.param(429, b"", errors.BusyError, id="e46"),
        pytest.param(413, b"<html>", errors.RejectedError, id="e47-413"),
        pytest.param(402, b"", errors.QuotaError, id="402"),
        pytest.param(400, b"<html>", errors.RejectedError, id="400"),
        pytest.param(405, b"", errors.RejectedError, id="405"),
        pytest.param(499, b"", errors.RejectedError, id="499"),
    ],
)
def test_a_foreign_no_is_judged_by_status(
    status: int, body: bytes, kind: type[errors.ApiError]
) -> None:
    """A page that is not the API's says no by its status, before the job exists."""
    error = _submit(_answer(status, body))
    assert type(error) is kind
    assert (error.retry_safe, error.maybe_charged) == (True, False)


STRANGE = [
    b"<html>Just a moment...</html>",
    {"error": {"message": "Incorrect API key", "type": "invalid_request_error"}},
    {"error": {"message": "Token not provided", "type": "api_error"}},
    {"error": "<Error>AccessDenied</Error>"},
    b"",
]


@pytest.mark.parametrize("body", STRANGE)
@pytest.mark.parametrize("status", [401, 403, 407, 511])
def test_a_key_is_refused_in_the_apis_own_words_only(status: int, body: object) -> None:
    """A firewall or another server knows nothing of the key, nor of a job."""
    response = _answer(status, body)
    assert isinstance(_submit(response), errors.SubmitUnknownError)
    asked = error_mapping.error_from(response)
    assert isinstance(asked, errors.ProtocolError)
    assert (asked.retry_safe, asked.maybe_charged) == (False, False)
    assert (asked.status, asked.head) == (status, response.body)
    assert f"HTTP {status} from https://here/mj" in str(asked)
    assert "check base_url" in str(asked)
    early = _submit(attrs.evolve(response, early=True))
    assert type(early) is errors.ProtocolError
    assert (early.retry_safe, early.maybe_charged) == (True, False)


LOST_ROW = b'{"code":4,"description":"insert_midjourney_task_failed "'


@pytest.mark.parametrize("body", [b"", b"<html>Too lar", LOST_ROW])
@pytest.mark.parametrize("status", [307, 400, 401, 403, 404, 413, 429, 500])
def test_what_broke_off_is_judged_by_nothing(status: int, body: bytes) -> None:
    """The words that decide may be the ones that were lost."""
    error = _submit(attrs.evolve(_answer(status, body), whole=False))
    assert isinstance(error, errors.SubmitUnknownError)
    assert f"HTTP {status}: the answer broke off" in str(error)
    assert (error.retry_safe, error.maybe_charged) == (False, True)


@pytest.mark.parametrize("status", [400, 401, 404])
@pytest.mark.parametrize("body", [LOST_ROW, b'  {"error":{"message":"Tok', b'[{"id"'])
def test_what_was_torn_behind_a_proxy_broke_off_too(status: int, body: bytes) -> None:
    """A proxy may end a broken answer cleanly; then it is the JSON that ends early."""
    response = _answer(status, body)
    assert isinstance(_submit(response), errors.SubmitUnknownError)
    assert type(error_mapping.error_from(response)) is errors.ServerError


def test_words_that_came_whole_count() -> None:
    """When only what follows the envelope was lost, the answer is known."""
    banned = _submit(attrs.evolve(_handler(24, "banned"), whole=False))
    assert type(banned) is errors.RejectedError
    refused = _submit(attrs.evolve(_gate(401, "Token not provided" + ID), whole=False))
    assert type(refused) is errors.AuthenticationError
    assert refused.retry_safe


@pytest.mark.parametrize("status", [408, 502, 503, 504, 520, 524, 599])
def test_e47_a_page_of_a_proxy_leaves_a_submit_unknown(status: int) -> None:
    """A proxy gave up on an answer; behind it the job may have been paid."""
    error = _submit(_answer(status, b"<html>Bad gateway</html>"))
    assert isinstance(error, errors.SubmitUnknownError)
    assert (error.retry_safe, error.maybe_charged) == (False, True)


def test_e45_an_empty_500_is_unknown_for_a_submit_only() -> None:
    """A panic proves nothing about a job; for a question it is a fault."""
    response = _answer(500, b"")
    assert isinstance(_submit(response), errors.SubmitUnknownError)
    asked = error_mapping.error_from(response)
    assert type(asked) is errors.ServerError
    assert (asked.retry_safe, asked.maybe_charged) == (False, False)


def test_e43_an_unknown_path_under_v1_is_not_served() -> None:
    """Its envelope looks like the API's, and the status decides all the same."""
    error = _submit(_gate(404, "Invalid URL (GET /v1/nope)", "invalid_request_error"))
    assert type(error) is errors.EndpointNotSupportedError
    assert "check base_url" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>404</html>",
        b"404 page not found",
        b'{"timestamp":"2026","status":404,"error":"Not Found","path":"/mj/x"}',
    ],
)
def test_e57_another_server_is_named_by_its_address(body: bytes) -> None:
    """Any 404 on a submit says which address does not serve the call."""
    error = _submit(_answer(404, body))
    assert type(error) is errors.EndpointNotSupportedError
    assert "https://here/mj/insight-face/swap" in str(error)


def test_e44_a_redirect_says_where_to() -> None:
    """A redirect is not followed; the message shows both addresses."""
    error = _submit(_answer(307, b"", location="https://there/"))
    assert "from https://here/mj" in str(error)
    assert "sent on to https://there/" in str(error)


@pytest.mark.parametrize(
    "response",
    [
        _gate(503, "There are no channels available"),
        _gate(503, "There are no channels available" + ID, "api_panic"),
        _gate(503, "overloaded" + ID),
        _gate(500, "Panic detected, error: nil", "api_panic"),
        _handler(23, "队列已满", status=502),
        _answer(503, {"error": "no channels"}),
        _answer(503, {"error": {"message": 7, "type": "api_error"}}),
        _answer(500, {"code": True, "description": "x", "type": "upstream_error"}),
        _answer(500, [{"code": 23, "type": "upstream_error"}]),
    ],
)
def test_a_look_alike_proves_no_refusal(response: HttpResponse) -> None:
    """Another gateway's envelope, or ours under a wrong status, stays unknown."""
    assert isinstance(_submit(response), errors.SubmitUnknownError)


def test_e59_an_answer_that_overtook_the_body_is_safe() -> None:
    """A 502 before the body had left whole means that no job was created."""
    early = HttpResponse(502, {}, b"<html>", early=True)
    error = _submit(early)
    assert type(error) is errors.ServerError
    assert (error.retry_safe, error.maybe_charged) == (True, False)


def test_e23_a_group_without_a_channel_waits_longer() -> None:
    """Nobody asks again within ten seconds, unless told an even longer wait."""
    message = "There are no channels available for model swap_face" + ID
    now = error_mapping.error_from(_gate(503, message))
    assert isinstance(now, errors.ServerError)
    assert now.retry_after == error_mapping.NO_CHANNEL_WAIT == 10.0
    body = {"error": {"message": message, "type": "api_error"}}
    later = error_mapping.error_from(_answer(503, body, retry_after="60"))
    assert isinstance(later, errors.ServerError)
    assert later.retry_after == 60.0


@pytest.mark.parametrize(
    ("hint", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("1.5", None),
        ("٣", None),
        ("Mon, 23 Nov 2026 06:36:57 GMT", 30.0),
        ("Mon, 23 Nov 2026 06:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2026 06:36:57 -0000", None),
        ("Mon, 23 Nov 2026 06:36:57 +99999999999999", None),
    ],
)
def test_a_wait_is_read_from_seconds_or_a_date(
    hint: str, seconds: float | None
) -> None:
    """A date counts from the answer's own date; nonsense asks for nothing."""
    response = _answer(429, b"", retry_after=hint, date=DATE)
    assert error_mapping.retry_after(response) == seconds


def test_a_wait_without_end_is_cut_to_nine_digits() -> None:
    """A hint of a thousand digits is a number still."""
    assert (
        error_mapping.retry_after(_answer(429, b"", retry_after="9" * 1000))
        == 999999999
    )


@given(st.text(max_size=60), st.text(max_size=60) | st.just(DATE))
def test_any_hint_is_a_wait_or_nothing(hint: str, date: str) -> None:
    """Whatever a proxy writes there, the client goes on."""
    wait = error_mapping.retry_after(_answer(429, b"", retry_after=hint, date=date))
    assert wait is None or wait >= 0


@given(st.lists(st.sampled_from([*DATE.split(), "+9", "-", ",", ":", "0", "99999999"])))
def test_any_heap_of_date_pieces_is_a_wait_or_nothing(pieces: list[str]) -> None:
    """Dates that are nearly right do not break the reading either."""
    wait = error_mapping.retry_after(
        _answer(429, b"", retry_after=" ".join(pieces), date=DATE)
    )
    assert wait is None or wait >= 0


def test_e48_the_servers_words_are_tidied() -> None:
    """Removed host names leave doubled blanks; the words are shown without them."""
    assert (
        error_mapping.collapse_blanks("cannot read  from \n x ") == "cannot read from x"
    )
    error = _submit(_handler(4, "a  b "))
    assert str(error) == "HTTP 400: a b"


@pytest.mark.parametrize("value", [None, 7, ["x"], {"a": 1}, True])
def test_what_is_no_text_says_nothing(value: object) -> None:
    """A description of another type is not shown as if somebody had said it."""
    assert error_mapping.collapse_blanks(value) == ""


def test_chinese_words_are_explained() -> None:
    """The server's words stay, with their meaning behind them."""
    told = error_mapping.with_translation("人脸图片和目标图片不能相同")
    assert told == "人脸图片和目标图片不能相同 (source and target are the same picture)"
    assert error_mapping.with_translation("busy") == "busy"


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        pytest.param(500, "http_get_image_failed", errors.ServerError, id="e37"),
        pytest.param(400, "midjourney_task_not_found", errors.RejectedError, id="e38"),
        pytest.param(404, "<html>", errors.EndpointNotSupportedError, id="e39-404"),
        pytest.param(410, "gone", errors.RejectedError, id="e39-410"),
    ],
)
def test_a_picture_that_does_not_come_says_why(
    status: int, words: str, kind: type[errors.ApiError]
) -> None:
    """The status decides, and the words of the far side are kept."""
    error = error_mapping.error_from(_answer(status, {"error": words}))
    assert type(error) is kind
    assert isinstance(error, errors.ApiError)
    assert (error.status, error.description) == (status, words)


def test_e47_a_body_a_proxy_refuses_is_called_too_large() -> None:
    """The page of a proxy says nothing useful; the sentence does."""
    says = str(_submit(_answer(413, b"<html>")))
    assert "the body is larger than a proxy allows" in says


def test_an_answer_without_words_says_so() -> None:
    """The message is a sentence even when the body is empty."""
    says = str(error_mapping.error_from(_answer(500, b"")))
    assert says == "HTTP 500: no words of the API in the answer"


@pytest.mark.parametrize("key", ["description", "message"])
def test_foreign_json_may_say_something(key: str) -> None:
    """Words and code of another envelope are kept, though they decide nothing."""
    error = error_mapping.error_from(_answer(400, {"code": 7, key: "no"}))
    assert isinstance(error, errors.ApiError)
    assert (error.code, error.description) == (7, "no")


def test_the_request_is_named() -> None:
    """Every refusal carries the id under which the server's log has it."""
    response = _answer(400, b"", x_request_id="r-1")
    assert error_mapping.error_from(response).request_id == "r-1"
    lost = _submit(_answer(502, b"", x_request_id="r-2"))
    assert lost.request_id == "r-2"


@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_json_is_nothing(body: bytes) -> None:
    """Bytes nobody can read, and depth without end, are no value."""
    assert error_mapping.parse_json(body) is None
