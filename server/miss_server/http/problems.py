"""Errors as RFC 9457 problem documents, in French and English, without internal text."""

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol.api import Problem
from miss_protocol.errors import Code, RemoteError
from miss_protocol.languages import language_accepted

RETRY_NOT_DURABLE = 2.0

log = structlog.get_logger()


def problem(
    request: Request,
    code: Code,
    *,
    retry_after: float | None = None,
    status: int | None = None,
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
    log.info("refused", path=request.url.path, reason=error.code.wire)
    return problem(request, error.code, retry_after=getattr(error, "retry_after", None))


async def on_not_durable(request: Request, error: Exception) -> Response:
    """Storage trouble: the outcome is unknown."""
    log.error("not durable", path=request.url.path, error=str(error))
    return problem(request, Code.NOT_DURABLE, retry_after=RETRY_NOT_DURABLE)


async def on_fault(request: Request, error: Exception) -> Response:
    """A mistake of ours: recorded in full here, told without a detail there."""
    log.error("fault", path=request.url.path, exc_info=error)
    return problem(request, Code.INTERNAL, retry_after=RETRY_NOT_DURABLE)


async def on_no_route(request: Request, error: Exception) -> Response:
    """No such path, or no such method on it."""
    status = getattr(error, "status_code", 404)
    return problem(request, Code.NOT_FOUND if status == 404 else Code.UNSUPPORTED, status=status)
