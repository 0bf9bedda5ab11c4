"""Objects written whole or not at all: an object is there once its last part is, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError

from mockexport.errors import ChangedError
from mockexport.http import RetryableError
from mockexport.stores.failures import judged

if TYPE_CHECKING:
    from mockexport.stores.store import Bucket

__all__ = ["ObjectWriter"]

PART_BYTES = 16 << 20  # of 10,000 parts that an object may have on S3
PARTS_AT_ONCE = 4
OTHER_WRITER = "<Code>InvalidBlockList</Code>"  # on Azure: who finished first has discarded the parts of the others


class ObjectWriter:
    """An object that is being written. It appears with `finish`; without that, nothing does.

    Raises what `Bucket` raises; on Azure also ChangedError, if another writer has finished meanwhile. A store may keep
    the parts of an object that was never finished, where nobody sees them, until a rule of the bucket removes them.
    """

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._where = bucket.url(key)
        self._writer = obstore.open_writer(
            bucket.for_writing(), key, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
        )

    def write(self, chunk: bytes) -> None:
        """Add bytes."""
        try:
            self._writer.write(chunk)
        except (BaseError, OSError, ValueError) as error:
            raise _error(error, self._where) from None

    def finish(self) -> None:
        """Have the object appear."""
        try:
            self._writer.close()
        except (BaseError, OSError, ValueError) as error:
            raise _error(error, self._where) from None


def _error(error: Exception, where: str) -> Exception:
    if OTHER_WRITER in str(error):
        return ChangedError(f"{where} was written by another program at the same time; run the command again")
    failure = judged(error, where)
    return failure.error if isinstance(failure, RetryableError) else failure
