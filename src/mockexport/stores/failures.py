"""What a failure of the library means: one of our own errors, or that another try may help.

The library tells a few kinds apart by class. For the rest there is only its text, of which nothing is shown: it may
have the query of a signed URL, or what a server quotes of a request.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from obstore import exceptions

from mockexport.errors import (
    ChangedError,
    MockExportError,
    NotAuthorisedError,
    NotFoundError,
    Remedy,
    UnreachableError,
    UntrustedDataError,
)
from mockexport.http import TRANSIENT, RetryableError

__all__ = ["judged"]

STATUS = re.compile(r"status code: (\d{3})\b")
METADATA = re.compile(r"//(?:169\.254\.\d+\.\d+|\[fd00:ec2::254\]|metadata\.google\.internal|metadata)[:/]")
NO_ACCOUNT = "Account must be specified"
OTHER_REGION = "incorrectly configured region"
CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (of a profile: `aws configure export-credentials --format "
    "env`), or AWS_SKIP_SIGNATURE=true for a public bucket",
    "gs": "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS, or "
    "GOOGLE_SKIP_SIGNATURE=true for a public bucket",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_SAS_TOKEN",
}
EXPIRED = re.compile(r"<Code>(?:ExpiredToken|InvalidToken|TokenRefreshRequired)</Code>")  # of S3, with status 400
NOT_FOUND, UNAUTHORIZED, FORBIDDEN, UNSATISFIABLE = 404, 401, 403, 416


def judged(error: Exception, where: str) -> MockExportError | RetryableError:
    """Return what to raise for an error of the library at `where`, the URL of an object, a prefix or a bucket."""
    text, credentials = str(error), CREDENTIALS[where.partition(":")[0]]
    if isinstance(error, exceptions.PreconditionError):
        return _changed(where)
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return _refused(where, credentials)
    if isinstance(error, FileNotFoundError):
        return _not_found(where)
    if isinstance(error, exceptions.InvalidPathError):
        return UntrustedDataError(f"{where} has an object whose name is no path, such as one with //; rename it")
    if METADATA.search(text) or NO_ACCOUNT in text:
        return NotAuthorisedError(f"no credentials for {where} were found: {credentials}")
    return _by_text(text, where, credentials)


def _by_text(text: str, where: str, credentials: str) -> MockExportError | RetryableError:
    found = STATUS.search(text)
    status = int(found[1]) if found else None
    if status in (UNAUTHORIZED, FORBIDDEN) or EXPIRED.search(text):
        return _refused(where, credentials)
    if status == NOT_FOUND:
        return _not_found(where)
    if status == UNSATISFIABLE:
        return _changed(where)
    if OTHER_REGION in text:
        return NotFoundError(f"{where} is in another region; set AWS_REGION to the region of the bucket")
    if status is None:
        return RetryableError(
            UnreachableError(f"{where}: the store cannot be reached, or the connection was lost; try again later")
        )
    told = UnreachableError(f"{where}: the store answered {status} {_phrase(status)}".rstrip() + "; try again later")
    return RetryableError(told, busy=True) if status in TRANSIENT else told


def _changed(where: str) -> ChangedError:
    return ChangedError(f"{where} has changed since it was listed; run the command again")


def _refused(where: str, credentials: str) -> NotAuthorisedError:
    return NotAuthorisedError(f"access to {where} was refused; check the credentials: {credentials}")


def _not_found(where: str) -> NotFoundError:
    return NotFoundError(f"the store has no {where}; check the name", remedy=Remedy.ENDPOINT)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
