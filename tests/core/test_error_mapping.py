"""
Which error a response is: by its envelope first, by its status second.

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
from ezlink_async._core.error_mapping import Refusal, Rule
from ezlink_async._core.json_reader import parse_json
from ezlink_async._core.messages import HttpResponse, collapse_blanks

ID = " (request id: 20261122170000123456781234)"
DATE = "Mon, 23 Nov 2026 06:36:27 GMT"


def _answer(status: int, body: object, **headers: str) -> HttpResponse:
    plain = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, named, plain, url="https://here/mj/insight-face/swap")


def _middleware(status: int, message: str, kind: str = "api_error") -> HttpResponse:
    """Answer as the middleware in front of the handlers does."""
    return _answer(status, {"error": {"message": message, "type": kind}})


def _handler(code: int, description: str, status: int = 400) -> HttpResponse:
    """Answer as the handlers of the swap do."""
    body = {"code": code, "description": description, "type": "upstream_error"}
    return _answer(status, body)


def _submit(response: HttpResponse) -> errors.EzlinkError:
    return error_mapping.error_from(response, submit=True)


MIDDLEWARE: dict[str, tuple[int, str, type[errors.ApiError]]] = {
    "e1": (401, "Token not provided", errors.AuthenticationError),
    "e2": (401, "The token has expired", errors.AuthenticationError),
    "e3": (401, "Token verification failed", errors.ServerError),
    "e4": (403, "User has been banned", errors.PermissionDeniedError),
    "e6": (403, "Ordinary users do not support", errors.PermissionDeniedError),
    "e7": (401, "The token quota has been exhausted", errors.QuotaError),
    "e8": (400, "Model name is required", errors.RejectedError),
    "user": (500, "no such table: users", errors.ServerError),
    "e23": (503, "There are no channels available for model", errors.ServerError),
    "database": (503, "Database consistency has been violated", errors.ServerError),
    "busy": (429, "slow down", errors.BusyError),
}


@pytest.mark.parametrize(
    ("status", "message", "kind"), MIDDLEWARE.values(), ids=MIDDLEWARE
)
def test_middleware_refuses_before_a_job_is_created(
    status: int, message: str, kind: type[errors.ApiError]
) -> None:
    error = _submit(_middleware(status, message + ID))
    assert type(error) is kind
    assert (error.retry_safe, error.maybe_charged) == (True, False)
    assert isinstance(error, errors.ApiError)
    assert error.status == status
    assert message in error.description


HANDLER: dict[str, tuple[int, str, type[errors.ApiError], bool]] = {
    "e9": (4, "sour_base64_and_target_base64_is_required ", errors.RejectedError, True),
    "e10": (4, "bind_request_body_failed ", errors.RejectedError, True),
    "e11": (4, "User quota is not enough Error", errors.QuotaError, True),
    "quota": (4, "Failed to get user quota Error", errors.ServerError, True),
    "e16-9": (9, "提交失败，队列已满，请稍后重试 ", errors.BusyError, True),
    "e16-english": (9, "Queue is FULL", errors.BusyError, True),
    "e16-23": (23, "队列已满 1400", errors.BusyError, True),
    "9-other": (9, "系统异常 ", errors.RejectedError, True),
    "e18": (5, "do_request_failed ", errors.ServerError, False),
    "e19": (5, "empty_response_body ", errors.ServerError, True),
    "e20": (5, "unmarshal_response_body_failed ", errors.ServerError, False),
    "read": (5, "read_request_body_failed ", errors.ServerError, True),
    "marshal": (5, "marshal_request_body_failed", errors.ServerError, True),
    "close": (5, "close_body_failed ", errors.ServerError, False),
    "create": (5, "create_request_failed ", errors.ServerError, True),
    "e21": (-1, " ", errors.RejectedError, True),
    "e21-0": (0, " ", errors.RejectedError, True),
    "e24": (4, "人脸图片格式错误 ", errors.RejectedError, True),
    "banned": (24, "可能包含敏感词 ", errors.RejectedError, True),
}


@pytest.mark.parametrize(
    ("code", "description", "kind", "safe"), HANDLER.values(), ids=HANDLER
)
def test_handler_is_read_by_code_and_words(
    code: int, description: str, kind: type[errors.ApiError], *, safe: bool
) -> None:
    """The same status means many things."""
    error = _submit(_handler(code, description))
    assert type(error) is kind
    assert (error.retry_safe, error.maybe_charged) == (safe, False)
    assert isinstance(error, errors.ApiError)
    assert error.code == code


def test_e17_saturated_server_is_busy() -> None:
    """Code 30 under 429 asks for a pause and names none."""
    error = _submit(_handler(30, "x The current group load is saturated.", 429))
    assert isinstance(error, errors.BusyError)
    assert error.retry_safe
    assert error.retry_after is None


@pytest.mark.parametrize(
    "description",
    ["insert_midjourney_task_failed ", " Insert midjourneyTask failed Error"],
)
def test_e22_lost_row_is_unknown_and_maybe_charged(description: str) -> None:
    """The server took the money and lost the id."""
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
def test_foreign_body_is_judged_by_status(
    status: int, body: bytes, kind: type[errors.ApiError]
) -> None:
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
def test_foreign_401_or_403_says_nothing_about_the_key(
    status: int, body: object
) -> None:
    """A firewall or another server knows neither the key nor the job."""
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


PROXY = [408, 502, 503, 504, 520, 524, 599]

LOST_ROW = b'{"code":4,"description":"insert_midjourney_task_failed "'


@pytest.mark.parametrize("body", [b"", b"<html>Too lar", LOST_ROW])
@pytest.mark.parametrize("status", [307, 400, 401, 403, 404, 413, 429, 500])
def test_truncated_answer_to_a_submit_is_unknown(status: int, body: bytes) -> None:
    """The words that decide may be the ones that were lost."""
    error = _submit(attrs.evolve(_answer(status, body), whole=False))
    assert isinstance(error, errors.SubmitUnknownError)
    assert f"HTTP {status}: the answer broke off" in str(error)
    assert (error.retry_safe, error.maybe_charged) == (False, True)


@pytest.mark.parametrize("status", [400, 401, 404])
@pytest.mark.parametrize("body", [LOST_ROW, b'  {"error":{"message":"Tok', b'[{"id"'])
def test_json_that_ends_early_is_truncated(status: int, body: bytes) -> None:
    """A proxy may end a truncated answer cleanly."""
    response = _answer(status, body)
    assert isinstance(_submit(response), errors.SubmitUnknownError)
    assert type(error_mapping.error_from(response)) is errors.ServerError


def test_whole_envelope_counts_in_a_truncated_answer() -> None:
    """Only bytes behind the envelope were lost, so the answer is known."""
    banned = _submit(attrs.evolve(_handler(24, "banned"), whole=False))
    assert type(banned) is errors.RejectedError
    refused = _submit(
        attrs.evolve(_middleware(401, "Token not provided" + ID), whole=False)
    )
    assert type(refused) is errors.AuthenticationError
    assert refused.retry_safe


def test_e45_empty_500_to_a_fetch_is_a_server_error() -> None:
    """For a submit the outcome is unknown."""
    asked = error_mapping.error_from(_answer(500, b""))
    assert type(asked) is errors.ServerError
    assert (asked.retry_safe, asked.maybe_charged) == (False, False)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>404</html>",
        b"404 page not found",
        {"timestamp": "2026", "status": 404, "error": "Not Found", "path": "/mj/x"},
        pytest.param(
            {"error": {"message": "Invalid URL", "type": "invalid_request_error"}},
            id="e43",
        ),
    ],
)
def test_e57_any_404_names_the_address_that_answered(body: object) -> None:
    error = _submit(_answer(404, body))
    assert type(error) is errors.EndpointNotSupportedError
    assert "https://here/mj/insight-face/swap" in str(error)
    assert "check base_url" in str(error)


def test_e44_redirect_names_both_addresses() -> None:
    """The client does not follow it."""
    error = _submit(_answer(307, b"", location="https://there/"))
    assert "from https://here/mj" in str(error)
    assert "sent on to https://there/" in str(error)


@pytest.mark.parametrize(
    "response",
    [
        *(_answer(status, b"<html>Bad gateway</html>") for status in PROXY),
        _answer(500, b""),
        _middleware(503, "There are no channels available"),
        _middleware(503, "There are no channels available" + ID, "api_panic"),
        _middleware(503, "overloaded" + ID),
        _middleware(500, "Panic detected, error: nil", "api_panic"),
        _handler(23, "队列已满", status=502),
        _answer(503, {"error": "no channels"}),
        _answer(503, {"error": {"message": 7, "type": "api_error"}}),
        _answer(500, {"code": True, "description": "x", "type": "upstream_error"}),
        _answer(500, [{"code": 23, "type": "upstream_error"}]),
    ],
)
def test_e47_answer_of_a_proxy_or_a_look_alike_leaves_a_submit_unknown(
    response: HttpResponse,
) -> None:
    """Behind it the job may have been created and paid."""
    error = _submit(response)
    assert isinstance(error, errors.SubmitUnknownError)
    assert (error.retry_safe, error.maybe_charged) == (False, True)


def test_e59_answer_before_the_end_of_the_body_is_safe() -> None:
    """The server had no whole job to create."""
    early = HttpResponse(502, {}, b"<html>", early=True)
    error = _submit(early)
    assert type(error) is errors.ServerError
    assert (error.retry_safe, error.maybe_charged) == (True, False)


def test_e23_no_channel_waits_ten_seconds_or_as_long_as_asked() -> None:
    message = "There are no channels available for model swap_face" + ID
    now = error_mapping.error_from(_middleware(503, message))
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
def test_retry_after_is_read_from_seconds_or_a_date(
    hint: str, seconds: float | None
) -> None:
    """A date counts from the answer's own date; nonsense is ignored."""
    response = _answer(429, b"", retry_after=hint, date=DATE)
    assert error_mapping.retry_after(response) == seconds


def test_retry_after_is_cut_to_nine_digits() -> None:
    assert (
        error_mapping.retry_after(_answer(429, b"", retry_after="9" * 1000))
        == 999999999
    )


PIECES = st.sampled_from([*DATE.split(), "+9", "-", ",", ":", "0", "99999999"])


@given(
    st.text(max_size=60) | st.lists(PIECES).map(" ".join),
    st.text(max_size=60) | st.just(DATE),
)
def test_any_hint_is_a_wait_or_nothing(hint: str, date: str) -> None:
    """Dates that are nearly right raise nothing either."""
    wait = error_mapping.retry_after(_answer(429, b"", retry_after=hint, date=date))
    assert wait is None or wait >= 0


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (_handler(4, "a  b "), "HTTP 400: a b"),
        (_answer(500, b""), "HTTP 500: no words of the API in the answer"),
        (
            _answer(413, b""),
            "HTTP 413: the body is larger than a proxy allows: no words",
        ),
    ],
)
def test_message_names_status_meaning_and_words(
    response: HttpResponse, text: str
) -> None:
    assert str(error_mapping.error_from(response)).startswith(text)


def test_e48_blanks_of_the_server_are_collapsed() -> None:
    """The server removes host names and leaves the blanks around them."""
    words = collapse_blanks("cannot read  from \n x ")
    assert words == "cannot read from x"


@pytest.mark.parametrize("value", [None, 7, ["x"], {"a": 1}, True])
def test_description_that_is_no_text_is_empty(value: object) -> None:
    assert collapse_blanks(value) == ""


def test_chinese_text_is_followed_by_its_english() -> None:
    text = error_mapping.with_translation("人脸图片和目标图片不能相同")
    assert text == "人脸图片和目标图片不能相同 (source and target are the same picture)"
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
def test_error_of_an_image_request_keeps_status_and_words(
    status: int, words: str, kind: type[errors.ApiError]
) -> None:
    error = error_mapping.error_from(_answer(status, {"error": words}))
    assert type(error) is kind
    assert isinstance(error, errors.ApiError)
    assert (error.status, error.description) == (status, words)


def test_refused_key_says_what_to_set() -> None:
    error = error_mapping.error_from(_middleware(401, "Token not provided" + ID))
    assert "EZLINK_API_KEY" in str(error)
    assert "ezlink doctor" in str(error)


@pytest.mark.parametrize("key", ["description", "message"])
def test_words_and_code_of_a_foreign_envelope_are_kept(key: str) -> None:
    error = error_mapping.error_from(_answer(400, {"code": 7, key: "no"}))
    assert isinstance(error, errors.ApiError)
    assert (error.code, error.description) == (7, "no")


def test_error_carries_the_request_id() -> None:
    response = _answer(400, b"", x_request_id="r-1")
    assert error_mapping.error_from(response).request_id == "r-1"
    lost = _submit(_answer(502, b"", x_request_id="r-2"))
    assert lost.request_id == "r-2"


@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b"[" * 100_000])
def test_bytes_that_are_no_json_are_none(body: bytes) -> None:
    assert parse_json(body) is None


@pytest.mark.parametrize(
    ("words", "about"),
    [
        ("人脸图片格式错误", True),
        ("目标图片大小超过最大限制", True),
        ("可能包含敏感词", True),
        ("No face was detected", True),
        ("2 faces overlap", True),
        ("文件上传失败", False),
        ("POST /mj/insight-face/swap failed", False),
        ("interface error", False),
        ("", False),
    ],
)
def test_refusal_of_a_picture_is_told_from_other_failures(
    words: str, *, about: bool
) -> None:
    assert error_mapping.is_about_picture(words) is about


def test_secrets_and_long_bodies_of_upstreams_are_not_shown() -> None:
    """Only so much of a quoted body is kept as says what is wrong."""
    quoted = "luma API error: status=200 body={" + "x" * 5_000 + "}"
    error = _submit(_answer(500, {"error": {"code": "c", "message": quoted}}))
    assert str(error).count("x") < 300
    words = 'do request: Post "/v1/x?key=UPSTREAM-KEY": refused'
    for body in ({"error": {"message": words}}, {"error": words}, {"message": words}):
        error = _submit(_answer(400, body))
        assert isinstance(error, errors.ApiError)
        assert error.description == 'do request: Post "/v1/x?key=...": refused'
        assert "UPSTREAM" not in f"{error} {error!r}"


def test_front_is_known_by_the_end_of_a_long_text() -> None:
    """Its request id stands behind all that it says."""
    long = "no such table: <users> " + "x" * 400
    assert _submit(_middleware(500, long + ID)).retry_safe


def _own(refusal: Refusal) -> Rule | None:
    """Judge as a family: by status, code, words, and who has answered."""
    if refusal.is_front and "model x" in refusal.text:
        return Rule(errors.RejectedError, says="no such model")
    if refusal.status == 403 and refusal.code == "guidelines":
        return Rule(errors.ContentRefusedError, safe=False, fee=25_000)
    return None


def test_rule_of_a_family_comes_before_those_of_all() -> None:
    answer = _middleware(503, "There are no channels available for model x" + ID)
    assert isinstance(error_mapping.error_from(answer), errors.ServerError)
    error = error_mapping.error_from(answer, submit=True, rules=_own)
    assert isinstance(error, errors.RejectedError)
    assert error.retry_safe
    assert "no such model" in str(error)


def test_refusal_with_a_fee_says_what_it_costs() -> None:
    answer = _answer(403, {"error": {"code": "guidelines", "message": "no"}})
    error = error_mapping.error_from(answer, submit=True, rules=_own)
    assert isinstance(error, errors.ContentRefusedError)
    assert (error.fee, error.retry_safe) == (25_000, False)


@pytest.mark.parametrize("body", [b"", b"{", {"error": {"message": "no"}}])
def test_rules_of_all_decide_where_a_family_has_none(body: object) -> None:
    answer = _answer(403, body)
    own = error_mapping.error_from(answer, submit=True, rules=_own)
    assert type(own) is type(error_mapping.error_from(answer, submit=True))
