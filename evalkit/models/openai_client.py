"""The official client with aiohttp right below it: what httpx does in between for browsers takes a fifth of a call.

It has no cookies, no authentication by challenge and no copies of headers; TLS is httpx's. Behind a proxy httpx
does it all.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from functools import cache
from itertools import count
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["open_client"]

TOLD = ("content-type", "retry-after", "retry-after-ms", "x-request-id")
"""Headers of a refusal that somebody reads."""


def open_client(key: str, base_url: str | None, deadline: float) -> AsyncOpenAI:
    """Return the official client, which does not retry by itself.

    Args:
        key: Sent as bearer.
        base_url: None for OpenAI.
        deadline: Seconds that a call may take.
    """
    official, direct, roundabout = _classes()
    address = urlsplit(base_url or "https://api.openai.com")
    proxied = not getproxies().keys().isdisjoint((address.scheme, "all")) and not proxy_bypass(
        address.hostname or ""
    )
    http: Any = roundabout if proxied else direct
    return official(
        api_key=key, base_url=base_url, max_retries=0, timeout=deadline, http_client=http(timeout=deadline)
    )


@cache
def _classes() -> tuple[type[AsyncOpenAI], type, type]:
    collecting = gc.isenabled()
    gc.disable()  # a third of the import is a search for garbage among what is imported
    try:
        import aiohttp
        import httpx2
        import openai

        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()  # all of it is old now: the next searches leave it out
    finally:
        if collecting:
            gc.enable()

    class Official(openai.AsyncOpenAI):
        """Puts an address together once, and asks the system for chance once, not for each call."""

        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self._addresses: dict[str, httpx2.URL] = {}
            self._keys = map(f"{super()._idempotency_key()}-{{}}".format, count())

        def _prepare_url(self, url: str) -> httpx2.URL:
            if url not in self._addresses:
                self._addresses[url] = super()._prepare_url(url)
            return self._addresses[url]

        def _idempotency_key(self) -> str:
            return next(self._keys)

    class Direct(httpx2.AsyncClient):
        """Builds nothing and sends by aiohttp."""

        session: aiohttp.ClientSession | None = None
        origin: httpx2.Request

        def __init__(self, **settings: Any) -> None:
            # never used; httpx's own would read certificates
            super().__init__(transport=httpx2.AsyncBaseTransport(), **settings)

        def build_request(self, method: str, url: Any, **rest: Any) -> Any:
            return SimpleNamespace(
                method=method, url=str(url), headers=dict(rest["headers"]), content=rest.get("content")
            )

        async def send(self, request: Any, **rest: Any) -> Any:
            session = self.session or self.opened(request)
            try:
                async with session.request(
                    request.method, request.url, headers=request.headers, data=request.content
                ) as reply:
                    content = await reply.read()
            except aiohttp.ClientError as error:
                raise httpx2.ReadError(
                    str(error)
                ) from error  # the kind the official client knows; see ``post``
            if reply.status < 300:
                return _Good(reply.status, content, request)
            headers = {name: reply.headers[name] for name in TOLD if name in reply.headers}
            return httpx2.Response(reply.status, headers=headers, content=content, request=self.origin)

        def opened(self, request: Any) -> aiohttp.ClientSession:
            tls: Any = httpx2.create_ssl_context() if request.url.startswith("https:") else True
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=tls),
                timeout=aiohttp.ClientTimeout(),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            self.origin = httpx2.Request(request.method, request.url)
            return self.session

        async def aclose(self) -> None:
            if self.session is not None:
                await self.session.close()
            await super().aclose()

    return Official, Direct, openai.DefaultAioHttpClient


class _Good:
    """What the official client and ``post`` read of a good reply; httpx's own takes longer than its JSON."""

    __slots__ = ("content", "request", "status_code")
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, status_code: int, content: bytes, request: Any) -> None:
        self.status_code, self.content, self.request = status_code, content, request

    def raise_for_status(self) -> None:
        """Nothing to raise."""
