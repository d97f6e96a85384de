"""Serves the JSON API: the table of operations as routes, tokens, and errors as problems.

Part of the application that `http` serves; what a token is and who answers an rpc is the
manager's business (`Door`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stackd import errors
from stackd.web.openapi import PROBLEMS, Problem, document
from stackd.web.operations import OPERATIONS, Operation, Take
from stackd.wire.control import Caller, Method

log = logging.getLogger(__name__)

BODY = 4 * 1024 * 1024
"""Bytes of a request's body at most."""
_BEARER = "Bearer "
_STATUS: tuple[tuple[type[errors.StackdError], int], ...] = (
    (errors.InvalidSpec, 422),
    (errors.Unavailable, 503),
    (errors.Unknown, 404),
    (errors.Conflict, 409),
    (errors.Refused, 409),
    (errors.Rejected, 409),
)


class Door(Protocol):
    """Who may come in, and who answers."""

    def enter(self, token: str, method: str, stack: str) -> Caller | None:
        """The caller that a token stands for; None when it is none. Raises Refused when it may
        not call `method` on `stack` ('' = all)."""
        ...

    def method(self, name: str) -> Method:
        """The rpc's handler. Raises Unavailable while this manager does not lead."""
        ...


def routes(door: Door) -> list[BaseRoute]:
    """A route for each operation, and the document."""
    body = msgspec.json.encode(document())

    async def openapi(request: Request) -> Response:
        return Response(body, media_type="application/json")

    found: list[BaseRoute] = [Route("/openapi.json", openapi, methods=["GET"])]
    for operation in OPERATIONS:
        found.append(Route(operation.path, _serving(operation, door), methods=[operation.verb]))
    return found


def problem(status: int, detail: str, remedy: str = "", more: tuple[str, ...] = ()) -> Response:
    """An error as RFC 9457 has it."""
    title = PROBLEMS.get(status, "The request was not done.")
    found = Problem(title=title, status=status, detail=detail, remedy=remedy, problems=more)
    body = msgspec.json.encode(found)
    return Response(body, status_code=status, media_type="application/problem+json")


def failed(error: errors.StackdError) -> Response:
    """A problem for one of our own errors."""
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    more: tuple[str, ...] = ()
    if isinstance(error, errors.InvalidSpec):
        more = tuple(str(one) for one in error.problems)
        return problem(status, f"{len(more)} problems in stack files.", error.remedy, more)
    answer = problem(status, error.cause, error.remedy)
    if isinstance(error, errors.Unavailable):
        answer.headers["retry-after"] = str(max(1, round(error.retry_after)))
    return answer


def _serving(operation: Operation, door: Door) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            return await _answered(operation, door, request)
        except errors.StackdError as error:
            return failed(error)
        except ClientDisconnect:
            return problem(400, "The request ended before its body.")
        except Exception as error:
            log.exception("%s failed", operation.name)
            text = f"{operation.name} failed inside the manager ({type(error).__name__})."
            return problem(500, text, "See the manager's log.")

    return serve


async def _answered(operation: Operation, door: Door, request: Request) -> Response:
    token = request.headers.get("authorization", "")
    bearer = token.removeprefix(_BEARER).strip() if token.startswith(_BEARER) else ""
    try:
        caller = door.enter(bearer, operation.rpc, request.path_params.get("stack", ""))
    except errors.Refused as error:
        return problem(403, error.cause, error.remedy)
    if caller is None:
        remedy = "Send `Authorization: Bearer TOKEN`; make one with: stackd token create"
        answer = problem(401, PROBLEMS[401], remedy)
        answer.headers["www-authenticate"] = "Bearer"
        return answer
    body = await _body(request)
    if body is None:
        return problem(413, f"The body has more than {BODY} bytes.", "Send less.")
    try:
        asked = operation.asked(request.path_params, request.query_params, body)
    except errors.Refused as error:
        return problem(400, error.cause, error.remedy)
    answers = await _until_gone(
        request, _taken(operation, door.method(operation.rpc), asked, caller)
    )
    found = operation.pick(answers) if operation.pick else answers
    headers = {"stackd-code": str(found.code)} if operation.take is Take.LAST else {}
    return Response(msgspec.json.encode(found), media_type="application/json", headers=headers)


async def _body(request: Request) -> bytes | None:
    """None when it is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY:
            return None
    return body


async def _taken(operation: Operation, method: Method, asked: Any, caller: Caller) -> Any:
    answer: Any = method.handler(asked, caller)
    if operation.take is Take.ONE:
        return await answer
    found = [one async for one in answer]
    return found[-1] if operation.take is Take.LAST else found


async def _until_gone(request: Request, work: Awaitable[Any]) -> Any:
    """What `work` answers; it is cancelled when the client has gone. Raises ClientDisconnect."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    doing, left = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait((doing, left), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientDisconnect
        return await doing
    finally:
        doing.cancel()
        left.cancel()
        await asyncio.gather(doing, left, return_exceptions=True)
