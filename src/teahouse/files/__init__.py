"""Files: resumable uploads, and downloads that a CDN can keep."""

from teahouse.files.service import Files, UploadLimits

__all__ = ["Files", "UploadLimits"]
