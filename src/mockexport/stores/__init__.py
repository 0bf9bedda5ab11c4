"""Object stores: S3, Google Cloud Storage and Azure, and what speaks their APIs; needs the [cloud] extra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.lazy import lazy_attributes

if TYPE_CHECKING:
    from mockexport.stores.path import StorePath
    from mockexport.stores.settings import StoreSettings, check_store_url, is_store_url

__all__ = ["StorePath", "StoreSettings", "check_store_url", "is_store_url"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "path": ("StorePath",),
        "settings": ("StoreSettings", "check_store_url", "is_store_url"),
    },
)
