"""The proxies that the environment names, as other programs read it.

HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, or what the system has set up: urllib.request reads them.
"""

from __future__ import annotations

from urllib.request import getproxies, proxy_bypass

import httpx

from mockexport.errors import UsageError

__all__ = ["proxy_for"]

LAST_PORT = 65535


def proxy_for(url: httpx.URL) -> httpx.Proxy | None:
    """Return the proxy for a URL, if there is to be one. Raises UsageError for one that makes no sense."""
    if proxy_bypass(url.netloc.decode("ascii")) or proxy_bypass(url.host):  # [::1]:80, or ::1
        return None
    proxies = getproxies()
    name = url.scheme if proxies.get(url.scheme) else "all"
    text = proxies.get(name)
    if not text:
        return None
    variable = f"{name.upper()}_PROXY"
    try:
        proxy = httpx.Proxy(text if "://" in text else f"http://{text}")
        host = proxy.url.raw_host.decode("ascii").encode("idna")  # as the look-up of its address will
    except (httpx.InvalidURL, ValueError):
        host = b""
    if not host or (proxy.url.port or 0) > LAST_PORT:
        # Without the value, and without the error that quotes it: it may hold a password.
        raise UsageError(f"{variable} names no proxy that can be used; it looks like http://host:3128, or unset it")
    if proxy.url.scheme not in ("http", "https"):
        raise UsageError(
            f"{variable} names a proxy of {proxy.url.scheme}, which is not supported; "
            f"name one of http, or put {url.host} in NO_PROXY"
        )
    return proxy
