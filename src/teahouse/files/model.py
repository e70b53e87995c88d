"""Uploads and files, and what the headers of tus mean (https://tus.io/protocols/resumable-upload)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from typing import Literal, NamedTuple, Protocol

import msgspec

from teahouse.problems import BadRequest, ContentTooLarge, FieldError, ValidationFailed

TUS_VERSION = "1.0.0"
CHECKSUMS = ("md5", "sha1", "sha256")
# The largest that every engine's integer holds.
MAX_LENGTH = 2**63 - 1
MAX_PARTS = 1000
_METADATA_LENGTH = 4096
_NAME_LENGTH = 255
_METADATA_KEY = re.compile(r"[!-+\--~]{1,64}")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,19}")
_FILE_ADDRESS = re.compile(r"(?:https?://[^/\s]+)?/v1/files/([0-9a-f]{32})")
ANY_TYPE = "application/octet-stream"

Kind = Literal["single", "partial", "final"]


class Upload(msgspec.Struct, frozen=True):
    """One upload, complete or not; complete, it is a file.

    ``length`` is None until the client says how long it will be; ``received`` counts the bytes that are kept; of a
    final upload ``parts`` are the uploads it was put together from. Moments are Unix milliseconds. ``object_id`` names
    the stored bytes, which files with equal contents share.
    """

    id: str
    owner_id: str
    kind: Kind
    length: int | None
    received: int
    metadata: str
    name: str
    media_type: str
    created_at: int
    expires_at: int | None
    completed_at: int | None = None
    object_id: str | None = None
    sha256: str | None = None
    parts: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether it is a file."""
        return self.completed_at is not None


class Described(NamedTuple):
    """What an Upload-Metadata header says: as it was sent, and what of it is understood here."""

    text: str
    name: str
    media_type: str


class Hasher(Protocol):
    """What ``hashlib`` makes."""

    def update(self, data: bytes, /) -> None:
        """More of the content."""
        ...

    def digest(self) -> bytes:
        """Of all that came."""
        ...


class Checksum(NamedTuple):
    """What the bytes of one request must add up to."""

    algorithm: str
    digest: bytes

    def hasher(self) -> Hasher:
        """To be fed with them."""
        return hashlib.new(self.algorithm, usedforsecurity=False)


def read_length(text: str | None, header: str) -> int | None:
    """A header that is a number of bytes, from 0 to 2⁶³-1; None where it is absent. Raises ``BadRequest``."""
    if text is None:
        return None
    if _WHOLE_NUMBER.fullmatch(text) is None or int(text) > MAX_LENGTH:
        raise BadRequest(f"{header} is a whole number of bytes, from 0 to {MAX_LENGTH}.")
    return int(text)


def read_metadata(text: str | None) -> Described:
    """``filename`` (or ``name``) and ``filetype`` (or ``type``) of an Upload-Metadata header; the rest is only kept.

    Raises ``BadRequest`` where it is malformed, ``ValidationFailed`` where a name or a type is none.
    """
    if not text:
        return Described("", "", ANY_TYPE)
    if len(text) > _METADATA_LENGTH:
        raise ContentTooLarge(f"Upload-Metadata has at most {_METADATA_LENGTH} characters.")
    pairs: dict[str, bytes] = {}
    for pair in text.split(","):
        key, _, value = pair.strip(" ").partition(" ")
        if _METADATA_KEY.fullmatch(key) is None or key in pairs:
            raise BadRequest("Upload-Metadata is a list of distinct keys, each with its value in Base64.")
        pairs[key] = _from_base64(value, "Upload-Metadata")
    name = check_name(_text(pairs, "filename", "name"), "header:Upload-Metadata")
    return Described(text, name, check_media_type(_text(pairs, "filetype", "type"), "header:Upload-Metadata"))


def check_name(name: str, pointer: str) -> str:
    """A file's name, never a path: without control characters and separators. Raises ``ValidationFailed``."""
    if len(name) > _NAME_LENGTH:
        raise _wrong(pointer, f"a file's name has at most {_NAME_LENGTH} characters")
    if any(unicodedata.category(each)[0] == "C" for each in name) or "/" in name or "\\" in name or name in (".", ".."):
        raise _wrong(pointer, "a file's name holds no control characters, no / and no \\")
    return name


def check_media_type(text: str, pointer: str) -> str:
    """A media type without parameters, in lower case. Raises ``ValidationFailed``."""
    media_type = text.partition(";")[0].strip().lower() or ANY_TYPE
    if _MEDIA_TYPE.fullmatch(media_type) is None:
        raise _wrong(pointer, "a file's type is a media type such as image/png")
    return media_type


def read_checksum(text: str | None) -> Checksum | None:
    """An Upload-Checksum header. Raises ``BadRequest``."""
    if text is None:
        return None
    algorithm, _, encoded = text.partition(" ")
    if algorithm not in CHECKSUMS:
        raise BadRequest(f"Upload-Checksum names one of {', '.join(CHECKSUMS)}.")
    checksum = Checksum(algorithm, _from_base64(encoded, "Upload-Checksum"))
    if len(checksum.digest) != len(checksum.hasher().digest()):
        raise BadRequest(f"Upload-Checksum holds no {algorithm} digest.")
    return checksum


def read_concat(text: str | None) -> tuple[Kind, tuple[str, ...]]:
    """An Upload-Concat header: what kind of upload it makes, and the ids of a final one's parts. Raises
    ``BadRequest``.
    """
    if text is None:
        return "single", ()
    if text == "partial":
        return "partial", ()
    if not text.startswith("final;"):
        raise BadRequest("Upload-Concat is partial, or final; and the addresses of its parts.")
    found = [_FILE_ADDRESS.fullmatch(each) for each in text.removeprefix("final;").split()]
    if not found or None in found or len(found) > MAX_PARTS:
        raise BadRequest(f"Upload-Concat names 1 to {MAX_PARTS} parts as /v1/files/ and their ids.")
    return "final", tuple(each[1] for each in found if each is not None)


def _text(pairs: dict[str, bytes], *names: str) -> str:
    value = next((pairs[name] for name in names if name in pairs), b"")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("Upload-Metadata holds UTF-8 under its Base64.") from error


def _from_base64(text: str, header: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"{header} holds Base64 (RFC 4648).") from error


def _wrong(pointer: str, detail: str) -> ValidationFailed:
    return ValidationFailed(f"{detail[:1].upper()}{detail[1:]}.", errors=[FieldError(pointer, detail)])
