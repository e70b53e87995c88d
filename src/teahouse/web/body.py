"""JSON bodies: decoded and validated in one pass; on failure every wrong field is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from teahouse.problems import FieldError, MalformedJson, UnsupportedMediaType, ValidationFailed
from teahouse.web.request import Request

_MAX_ERRORS = 50
_WHOLE_BYTES = 64 * 1024
# Beyond this a float cannot tell whole numbers apart.
_EXACT = 2**53
_PLACE = re.compile(r" - at `(?P<path>[^`]*)`$")
_FIELD = re.compile(r"Object (?:(?P<missing>missing required)|contains unknown) field `(?P<name>.*)`", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def body_reader(kind: Any) -> Callable[[Request], Any]:
    """A function from request to a value of that type.

    It raises ``UnsupportedMediaType``, ``MalformedJson`` or ``ValidationFailed``.
    """
    decode = msgspec.json.Decoder(kind).decode

    def read(request: Request) -> Any:
        if request.headers.get(b"content-type") != b"application/json":
            _check_media_type(request)
        try:
            return decode(request.body)
        except msgspec.ValidationError as error:
            return _second_look(request.body, kind, error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedJson(f"The body is not valid JSON in UTF-8: {error}") from error

    return read


def _check_media_type(request: Request) -> None:
    if not request.body:
        raise MalformedJson("The body is empty; this address takes a JSON document.")
    media_type, *parameters = request.headers.get(b"content-type", b"").split(b";")
    media_type = media_type.strip().lower()
    if media_type != b"application/json" and not (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    ):
        raise UnsupportedMediaType("The body must be sent with Content-Type: application/json.")
    for parameter in parameters:
        name, _, value = parameter.strip().lower().partition(b"=")
        if name == b"charset" and value.strip(b'"') not in (b"utf-8", b"utf8", b"us-ascii"):
            raise UnsupportedMediaType("JSON is UTF-8 (RFC 8259); leave the charset out or say utf-8.")


def _second_look(body: bytes, kind: Any, first: msgspec.ValidationError) -> Any:
    """Off the fast path: every wrong field is found, and a whole number may be written as 1.0.

    JSON has one kind of number and JSON Schema calls 1.0 an integer; the decoder does not.
    """
    document = None
    try:
        document = msgspec.json.decode(body)
        if "got `float`" in str(first) and len(body) <= _WHOLE_BYTES:
            document = _whole(document)
            return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        first = error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJson(f"The body is not valid JSON in UTF-8: {error}") from error
    raise ValidationFailed(errors=_errors(document, kind, first)) from first


def _whole(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    return value


def _errors(document: Any, kind: Any, first: msgspec.ValidationError) -> list[FieldError]:
    """The decoder stops at the first error; here each field of the document is tried by itself."""
    found: list[FieldError] = []
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(document, dict):
        found = _field_errors(document, kind)
    return found[:_MAX_ERRORS] or [field_error(str(first))]


def _field_errors(document: dict[str, Any], kind: type[msgspec.Struct]) -> list[FieldError]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    found = []
    for name, field in fields.items():
        pointer = f"/{_escape(name)}"
        if name not in document:
            if field.required:
                found.append(FieldError(pointer, "is missing"))
            continue
        if field.type is msgspec.Raw:
            # Any value will do, but only the text of it can be made one.
            continue
        try:
            msgspec.convert(document[name], field.type)
        except msgspec.ValidationError as error:
            found.append(field_error(str(error), pointer))
    if kind.__struct_config__.forbid_unknown_fields:
        found += [
            FieldError(f"/{_escape(name)}", "is not a field of this document")
            for name in document
            if name not in fields
        ]
    return found


def field_error(message: str, prefix: str = "") -> FieldError:
    """A message of msgspec as a place and what is wrong there; ``prefix`` is where the value itself stands."""
    place = _PLACE.search(message)
    if place is not None:
        prefix += "".join(f"/{_escape(key or index)}" for key, index in _STEP.findall(place["path"]))
        message = message[: place.start()]
    field = _FIELD.fullmatch(message)
    if field is None:
        return FieldError(prefix, message)
    detail = "is missing" if field["missing"] else "is not a field of this document"
    return FieldError(f"{prefix}/{_escape(field['name'])}", detail)


def _escape(token: str) -> str:
    # RFC 6901 §3
    return token[:200].replace("~", "~0").replace("/", "~1")
