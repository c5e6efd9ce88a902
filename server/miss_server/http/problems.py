"""Errors as RFC 9457 problem documents, in French and English, without internal text."""

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol.api import Problem
from miss_protocol.errors import Code, RemoteError
from miss_protocol.languages import language_accepted
from miss_server.http.bodies import TooSlow

RETRY_NOT_DURABLE = 2.0

log = structlog.get_logger()


def problem(
    request: Request,
    code: Code,
    *,
    retry_after: float | None = None,
    status: int | None = None,
    reason: str = "",
) -> Response:
    """The document of a code."""
    language = language_accepted(request.headers.get("accept-language", ""))
    document = Problem(
        type=f"urn:miss:problem:{code.wire}",
        title=code.text(language),
        status=status or code.status,
        code=code.wire,
        texts={"en": code.text("en"), "fr": code.text("fr")},
        retry=code.retry.value,
        retry_after=msgspec.UNSET if retry_after is None else retry_after,
        reason=reason,
    )
    headers = {} if retry_after is None else {"retry-after": str(max(1, round(retry_after)))}
    return Response(
        msgspec.json.encode(document),
        document.status,
        headers,
        media_type="application/problem+json",
    )


async def on_remote_error(request: Request, error: Exception) -> Response:
    """What the caller did wrong."""
    assert isinstance(error, RemoteError)  # noqa: S101  # registered for these only
    log.info("refused", call=_call(request), reason=error.code.wire)
    answer = problem(
        request,
        error.code,
        retry_after=getattr(error, "retry_after", None),
        reason=getattr(error, "reason", "") if error.code is Code.SUSPENDED else "",
    )
    # Who guesses signatures must connect anew for each: that is counted by address.
    if isinstance(error, TooSlow) or error.code is Code.AUTH_FAILED:
        answer.headers["connection"] = "close"
    return answer


async def on_not_durable(request: Request, error: Exception) -> Response:
    """Storage trouble: the outcome is unknown."""
    log.error("not durable", call=_call(request), error=str(error))
    return problem(request, Code.NOT_DURABLE, retry_after=RETRY_NOT_DURABLE)


async def on_fault(request: Request, error: Exception) -> Response:
    """A mistake of ours: recorded in full here, told without a detail there."""
    log.error("fault", call=_call(request), exc_info=error)
    return problem(request, Code.INTERNAL, retry_after=RETRY_NOT_DURABLE)


async def on_gone(request: Request, error: Exception) -> Response:
    """The caller went away in the middle of its body: nobody reads this."""
    log.info("caller gone", call=_call(request))
    return problem(request, Code.MALFORMED)


async def on_no_route(request: Request, error: Exception) -> Response:
    """No such path, or no such method on it."""
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for these only
    status = error.status_code
    answer = problem(request, Code.NOT_FOUND if status == 404 else Code.UNSUPPORTED, status=status)
    answer.headers.update(error.headers or {})
    return answer


def _call(request: Request) -> str:
    """The call's name for the log: its path may hold an account or a person."""
    return f"{request.method} {getattr(request.scope.get('endpoint'), '__name__', '?')}"
