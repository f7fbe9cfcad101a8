"""The images of a request: multipart form data, kept in memory, never on the disk."""

import logging
from typing import TYPE_CHECKING, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from hgad_jax.serving.decoding import Upload, shown_name
from hgad_jax.serving.problems import Refusal

if TYPE_CHECKING:  # it is there for type checkers only
    from python_multipart.multipart import MultipartCallbacks

FIELD = "images"
_MOST_HEADERS = 20  # of a part
_HOW = f"Send images as files in the field '{FIELD}' of multipart form data: curl -F {FIELD}=@part.png ..."

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each byte that it did not expect


class _Part(NamedTuple):
    file: str  # its name, as it was sent
    content: bytearray


async def images_of(request: Request, most: int) -> list[Upload]:
    """The images of a request, in their order.

    Args:
      request: whose body has not been read.
      most: images.

    Raises:
      Refusal: it is no form, damaged or cut, has none or too many, or something else besides.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        found = kind.decode("latin-1") or "no content type"
        raise Refusal(415, "not_a_form", f"The request is {found[:100]!r}. {_HOW}")
    form = _Form(most)
    try:
        parser = MultipartParser(options.get(b"boundary", b""), form.callbacks())
        async for piece in request.stream():
            if form.is_whole:
                continue  # what follows the end is nothing
            parser.write(piece)
    except (FormParserError, ValueError) as error:
        raise _damaged(" ".join(str(error).split())[:200]) from error
    if not form.is_whole:
        raise _damaged("it ends before its closing boundary")
    if not form.parts:
        raise Refusal(400, "no_images", f"There are no images in the request. {_HOW}")
    return [
        Upload(shown_name(part.file, number), bytes(part.content))
        for number, part in enumerate(form.parts, start=1)
    ]


class _Form:
    """What the parser calls while it reads."""

    def __init__(self, most: int):
        self.parts: list[_Part] = []
        self.is_whole = False
        self._most = most
        self._headers: list[tuple[bytes, bytes]] = []
        self._name = self._value = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": self._in_name,
            "on_header_value": self._in_value,
            "on_header_end": self._header_ends,
            "on_headers_finished": self._part_begins,
            "on_part_data": lambda data, start, end: self.parts[-1].content.extend(data[start:end]),
            "on_end": self._ends,
        }

    def _in_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _in_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        self._headers.append((self._name.lower(), self._value))
        self._name = self._value = b""
        if len(self._headers) > _MOST_HEADERS:
            raise _damaged("a part has too many headers")

    def _part_begins(self) -> None:
        options = parse_options_header(dict(self._headers).get(b"content-disposition"))[1]
        if b"name" not in options:
            raise _damaged("a part has no name")
        field = options[b"name"].decode("utf-8", "replace")
        if field != FIELD:
            raise Refusal(400, "wrong_field", f"There is no field {field[:100]!r}. {_HOW}")
        if b"filename" not in options:
            raise Refusal(400, "no_file", f"The field '{FIELD}' is a text, not a file. {_HOW}")
        if len(self.parts) == self._most:
            raise Refusal(
                413, "too_many_images", f"More than {self._most} images in one request. Send them in several."
            )
        self.parts.append(_Part(options[b"filename"].decode("utf-8", "replace"), bytearray()))

    def _ends(self) -> None:
        self.is_whole = True


def _damaged(found: str) -> Refusal:
    return Refusal(400, "damaged_form", f"The form cannot be read: {found}. {_HOW}")
