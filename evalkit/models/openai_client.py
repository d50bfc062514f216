"""The official client with aiohttp right below it: what httpx does in between for browsers takes a fifth of a call.

It has no cookies, no authentication by challenge and no copies of headers; TLS is httpx's. Behind a proxy httpx
does it all.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
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
    from openai import AsyncOpenAI, DefaultAioHttpClient

    address = urlsplit(base_url or "https://api.openai.com")
    proxied = address.scheme in getproxies() and not proxy_bypass(address.hostname or "")
    http: Any = DefaultAioHttpClient if proxied else _direct()
    return AsyncOpenAI(
        api_key=key, base_url=base_url, max_retries=0, timeout=deadline, http_client=http(timeout=deadline)
    )


@cache
def _direct() -> type:
    import aiohttp
    import httpx2

    class Direct(httpx2.AsyncClient):
        """Builds nothing and sends by aiohttp."""

        session: aiohttp.ClientSession | None = None
        origin: httpx2.Request

        def build_request(self, method: str, url: Any, **rest: Any) -> Any:
            return SimpleNamespace(
                method=method, url=str(url), headers=dict(rest["headers"]), content=rest.get("content")
            )

        async def send(self, request: Any, **rest: Any) -> httpx2.Response:
            if self.session is None:
                connector = aiohttp.TCPConnector(limit=0, ssl=httpx2.create_ssl_context())
                self.session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout())
                self.origin = httpx2.Request(request.method, request.url)
            try:
                async with self.session.request(
                    request.method, request.url, headers=request.headers, data=request.content
                ) as reply:
                    content = await reply.read()
            except aiohttp.ClientError as error:
                raise httpx2.ReadError(
                    str(error)
                ) from error  # the kind the official client knows; see ``post``
            told: Mapping[str, str] = reply.headers if reply.status > 299 else {}
            headers = {name: told[name] for name in TOLD if name in told}
            return httpx2.Response(reply.status, headers=headers, content=content, request=self.origin)

        async def aclose(self) -> None:
            if self.session is not None:
                await self.session.close()
            await super().aclose()

    return Direct
