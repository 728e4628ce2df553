"""Answers of other servers, read whole but never more than a limit.

In: an answer whose head has arrived. Out: its body; `TooLarge` for one that would fill the memory.
"""

import aiohttp


class TooLarge(aiohttp.ClientPayloadError):
    """The body is larger than the limit."""


async def read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body, decompressed as the session does it. Raises TooLarge and what aiohttp raises."""
    parts, size = [], 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"the answer is larger than {limit} bytes")
        parts.append(chunk)
    return b"".join(parts)
