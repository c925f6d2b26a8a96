"""Errors as `application/problem+json` (RFC 9457), with a stable `type` and a text in the person's language."""

import logging
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from personvern.languages.texts import texts
from personvern.statements.reading import LANGUAGES

logger = logging.getLogger(__name__)

_STATUS = {
    "unauthorised": 401,
    "unknown-company": 404,
    "empty-text": 422,
    "text-too-long": 422,
    "body-too-large": 413,
    "malformed": 400,
    "unknown-offer": 409,
    "too-many-messages": 429,
    "not-found": 404,
    "method-not-allowed": 405,
    "internal": 500,
}
_KIND_OF_STATUS = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large", 401: "unauthorised"}


class Problem(Exception):
    """`kind` is a key of `problems` in the localised texts."""

    def __init__(
        self, kind: str, language: str | None = None, retry_after: int | None = None, **values: object
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.language = language
        self.retry_after = retry_after
        self.values = values


def preferred_language(request: Request[Any, Any, Any]) -> str:
    """The first of our languages in Accept-Language; bokmål where none is named."""
    for entry in request.headers.get("accept-language", "").lower().split(","):
        code = entry.split(";")[0].strip().split("-")[0]
        if code == "no":
            return "nb"
        if code in LANGUAGES:
            return code
    return "nb"


def answer_problem(request: Request[Any, Any, Any], problem: Problem) -> Response[dict[str, Any]]:
    language = problem.language or preferred_language(request)
    words = texts(language, "problems")[problem.kind]
    status = _STATUS[problem.kind]
    headers = {"Retry-After": str(problem.retry_after)} if problem.retry_after else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        {
            "type": f"/problems/{problem.kind}",
            "title": words["title"],
            "detail": words["detail"].format(**problem.values),
            "status": status,
            "language": language,
        },
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )


def answer_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    kind = _KIND_OF_STATUS.get(error.status_code, "malformed" if error.status_code < 500 else "internal")
    return answer_problem(request, Problem(kind))


def answer_unforeseen(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    # The error's own text may hold what somebody wrote: its kind and place are enough to find it.
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "?"
    logger.error("request.failed error=%s at=%s", type(error).__name__, where)
    return answer_problem(request, Problem("internal"))


def answer_unreadable(request: Request[Any, Any, Any], error: UnicodeDecodeError) -> Response[dict[str, Any]]:
    """A body or a path that is no UTF-8."""
    return answer_problem(request, Problem("malformed"))
