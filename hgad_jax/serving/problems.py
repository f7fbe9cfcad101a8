"""What a server says when it does not do what it was asked: JSON with a sentence, never a stack trace."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse


class Refusal(Exception):
    """A request is not answered as it was meant.

    Attributes:
      status: of HTTP.
      code: the kind, for programs.
      message: for whoever sent it: what was found, what was expected.
      headers: of the answer.
      details: further JSON.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers, self.details = dict(headers or {}), dict(details or {})

    def response(self) -> JSONResponse:
        """The answer."""
        said = {"status": self.status, "code": self.code, "message": self.message, **self.details}
        return JSONResponse({"error": said}, self.status, self.headers)


def busy(message: str, *, code: str = "busy", seconds: int = 1) -> Refusal:
    """Come again: nothing is wrong with the request."""
    return Refusal(503, code, message, headers={"Retry-After": str(seconds)})


def too_large(found: str, limit: int) -> Refusal:
    """More bytes than are taken."""
    return Refusal(
        413,
        "too_large",
        f"The request has {found} bytes, and at most {limit} are taken. Send fewer or smaller images.",
    )


def unreadable(errors: Sequence[tuple[int, str, str]]) -> Refusal:
    """Images that cannot be scored: position in the request (from 0), name and why."""
    first = errors[0][2]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    listed = [{"index": index, "name": name, "message": message} for index, name, message in errors]
    return Refusal(422, "unreadable", f"{first}{more}", details={"images": listed})


def fault() -> Refusal:
    """A fault of ours; what it is stands in the server's log."""
    return Refusal(500, "fault", "This is a fault of the server, not of yours; its log has what happened.")
