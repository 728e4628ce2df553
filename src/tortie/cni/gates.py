"""Readiness gates: URLs that must answer before the plugin works.

For the agent's ADD. In: the URLs of the network configuration. Out: nothing once each has answered with 2xx or 3xx, or
PluginError after 30 seconds (spec/cni-ipam-node.md 1.7 step 4).
"""

import asyncio
from collections.abc import Sequence

import aiohttp

from tortie.cni.errors import PluginError

_PERIOD, _ATTEMPTS = 5.0, 6


async def wait(urls: Sequence[str]) -> None:
    """Polls each URL every 5 s, for 30 s at most. Raises PluginError."""
    if not urls:
        return
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PERIOD)) as session:
        for url in urls:
            for attempt in range(_ATTEMPTS):
                last = await _state(session, url)
                if not last:
                    break
                if attempt + 1 == _ATTEMPTS:
                    raise PluginError(f"readiness gate {url} did not pass within {_PERIOD * _ATTEMPTS:.0f} s: {last}")
                await asyncio.sleep(_PERIOD)


async def _state(session: aiohttp.ClientSession, url: str) -> str:
    """Empty if the gate is open, else why not."""
    try:
        async with session.get(url, allow_redirects=False) as response:
            return "" if 200 <= response.status < 400 else f"HTTP {response.status}"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return str(error) or type(error).__name__
