"""The proxy for a URL, from the environment or the system's settings, as urllib.request reads them.

The variables are HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.
"""

from __future__ import annotations

from urllib.request import getproxies, proxy_bypass

import httpx

from mockexport.errors import UsageError

__all__ = ["proxy_for"]

LAST_PORT = 65535


def proxy_for(url: httpx.URL) -> httpx.Proxy | None:
    """Return the proxy for a URL, None for a direct connection. Raises UsageError for an invalid or unsupported one."""
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
        host = proxy.url.raw_host.decode("ascii").encode("idna")  # as getaddrinfo does
    except (httpx.InvalidURL, ValueError):
        host = b""
    if not host or (proxy.url.port or 0) > LAST_PORT:
        # Without the value, and without the error, which quotes it: it may hold a password.
        raise UsageError(f"{variable} is not the URL of a proxy, such as http://host:3128; correct or unset it")
    if proxy.url.scheme not in ("http", "https"):
        raise UsageError(
            f"{variable} names a {proxy.url.scheme} proxy, which is not supported; "
            f"use an http proxy, or add {url.host} to NO_PROXY"
        )
    return proxy
