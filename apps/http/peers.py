"""Whether a request comes from this host, and from something on it that means to ask: what `auth: none` rests on.

Web pages can have a browser on this host send requests: to a name of theirs that leads here (DNS rebinding), or across
sites. So the address of the peer alone is not enough.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from fastapi import Request

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers by which a proxy says that somebody else is asking."""

SAFE = ("GET", "HEAD", "OPTIONS")


def from_this_host(request: Request) -> bool:
    """Whether the peer is a loopback address, and no header says that it asks for somebody else.

    A server may have put the address of a forwarded header in the peer's place, so where there is one it is not believed.
    A peer without an address, as on a unix socket, may be a proxy: it does not count as this host.
    """
    if any(name in request.headers for name in FORWARDED):
        return False
    return request.client is not None and is_loopback(request.client.host)


def is_loopback(address: str) -> bool:
    """Whether this is 127.0.0.0/8, ::1, or the former written as IPv6."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback


def household(address: str) -> str:
    """What stands for one client among addresses: an IPv4 address, or the /64 network that every IPv6 client has for itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Network((int(parsed), 64), strict=False))


def refusal(request: Request) -> str | None:
    """Why this request of a browser must not be answered without a token; None when nothing speaks against it."""
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or not _names_this_host(hosts[0]):
        return "Without a token this API is asked as localhost, 127.0.0.1 or [::1]; the Host header names another."
    if request.method in SAFE:
        return None
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return "Without a token no page of another site may change anything here."
    origin = request.headers.get("origin")
    if origin is not None and origin.lower().partition("://")[2] != hosts[0].lower():
        return "Without a token no page of another origin may change anything here."
    return None


def _names_this_host(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or is_loopback(name)
