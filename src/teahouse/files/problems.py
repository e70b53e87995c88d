"""What may go wrong with uploads and files; see ``teahouse.problems``."""

from __future__ import annotations

from teahouse.problems import Problem


class UploadOffsetMismatch(Problem):
    """The bytes do not begin where the last ones ended. Ask where the upload stands with HEAD and go on from there."""

    status = 409


class UploadComplete(Problem):
    """The upload is a file already, or was put together from others: nothing can be added to it."""

    status = 403


class UploadExpired(Problem):
    """The upload was not finished in time, and what had come of it is gone. Begin a new one."""

    status = 410


class UploadLocked(Problem):
    """Another request is writing this upload. Ask where it stands with HEAD, which ends that request, and go on."""

    status = 423


class ChecksumMismatch(Problem):
    """The bytes are not those that their checksum was made of. None of them were kept: send them again."""

    status = 460


class TusVersionUnsupported(Problem):
    """Uploads speak version 1.0.0 of tus, which each request says in its Tus-Resumable header."""

    status = 412


class QuotaExceeded(Problem):
    """One user's files may have so many bytes together. Delete some, or ask the operator for more."""

    status = 413


class PreconditionFailed(Problem):
    """The file is not the one that If-Match names."""

    status = 412


class RangeNotSatisfiable(Problem):
    """The file has none of the bytes that Range asks for; Content-Range says how many it has."""

    status = 416


class InsufficientStorage(Problem):
    """There is no room for more files. What had been acknowledged is kept; go on when the operator has made room."""

    status = 507
