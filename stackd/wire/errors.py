"""The project's errors across a connection: into a gRPC status and back into the same class.

The status code is for foreign eyes; the whole error is a `Failure` in trailing metadata.
"""

from typing import Any, NoReturn

import grpc

from stackd import errors
from stackd.wire import limits
from stackd.wire.gen import failure_pb2

METADATA_KEY = "stackd-failure-bin"
TEXT_LIMIT = 4096

_CODES: tuple[tuple[type[errors.StackdError], grpc.StatusCode], ...] = (
    (errors.InvalidSpec, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.Conflict, grpc.StatusCode.ABORTED),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.Rejected, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.Unknown, grpc.StatusCode.NOT_FOUND),
    (errors.Refused, grpc.StatusCode.PERMISSION_DENIED),
    (errors.Corrupt, grpc.StatusCode.DATA_LOSS),
)


def to_failure(error: errors.StackdError) -> failure_pb2.Failure:
    """The message form. Problems beyond the size limit are counted instead of sent."""
    failure = failure_pb2.Failure(
        kind=type(error).__name__, cause=error.cause[:TEXT_LIMIT], remedy=error.remedy
    )
    match error:
        case errors.InvalidSpec(problems=problems):
            failure.cause = ""
            size = 0
            for number, problem in enumerate(problems):
                item = _problem(problem)
                size += item.ByteSize() + 8
                if size > limits.FAILURE_BYTES:
                    left = len(problems) - number
                    failure.problems.append(failure_pb2.Problem(text=f"and {left} more"))
                    break
                failure.problems.append(item)
        case errors.Unavailable(retry_after=seconds):
            failure.retry_after = seconds
        case _:
            pass
    return failure


def from_failure(failure: failure_pb2.Failure) -> errors.StackdError:
    """The same error again."""
    cause, remedy = failure.cause, failure.remedy
    match failure.kind:
        case "InvalidSpec":
            return errors.InvalidSpec([_from_problem(item) for item in failure.problems])
        case "Unavailable" | "Unreachable":
            return errors.Unavailable(cause, remedy, failure.retry_after)
        case "Conflict":
            return errors.Conflict(cause, remedy)
        case "Rejected":
            return errors.Rejected(cause, remedy)
        case "Corrupt":
            return errors.Corrupt(cause, remedy)
        case "Unknown":
            return errors.Unknown(cause, remedy)
        case "Stale":
            return errors.Stale(cause, remedy)
        case _:
            return errors.Refused(cause, remedy)


def _problem(problem: errors.Problem) -> failure_pb2.Problem:
    return failure_pb2.Problem(
        file=problem.file[:TEXT_LIMIT],
        line=problem.line,
        column=problem.column,
        text=problem.text[:TEXT_LIMIT],
        path=problem.path[:TEXT_LIMIT],
        warning=problem.warning,
    )


def _from_problem(item: failure_pb2.Problem) -> errors.Problem:
    return errors.Problem(item.file, item.line, item.column, item.text, item.path, item.warning)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: errors.StackdError) -> NoReturn:
    """End the RPC with this error."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    details = error.cause.encode("ascii", "replace").decode()[:500]
    metadata = ((METADATA_KEY, to_failure(error).SerializeToString()),)
    await context.abort(code or grpc.StatusCode.UNKNOWN, details, metadata)
    raise AssertionError("abort always raises")


def from_rpc(error: grpc.aio.AioRpcError, peer: str) -> errors.StackdError:
    """What a failed RPC means to the caller. `peer` names the other side for people."""
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == METADATA_KEY:
            return from_failure(failure_pb2.Failure.FromString(_octets(value)))
    text = (error.details() or "no reason given").rpartition(" error: ")[2].rstrip(".")
    match error.code():
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return errors.Unreachable(f"{peer} does not answer: {text}.")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.Unavailable(f"{peer} did not answer in time.")
        case grpc.StatusCode.UNIMPLEMENTED:
            return errors.Refused(
                f"{peer} does not know this request.", "Use the same version on both sides."
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return errors.Refused(f"The request or answer is too large: {text}.")
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return errors.Refused(f"{peer} refused: {text}.")
        case _:
            return errors.Unavailable(f"{peer} failed: {text}.")


def _octets(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")
