"""JSON pages that a person can read, for those who ask for them."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

__all__ = ["PRETTY", "readable_json"]

PRETTY = "pretty"
"""In a query, whatever else a page is asked for, and with any value."""


@web.middleware
async def readable_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Indent the JSON of a page where ``?pretty`` is asked for, or a browser shows it.

    Programs get what they always got: one line.
    """
    response = await handler(request)
    asked = PRETTY in request.query or "text/html" in request.headers.get("Accept", "")
    if (
        request.method == "GET"
        and asked
        and isinstance(response, web.Response)
        and response.content_type == "application/json"
        and isinstance(response.body, bytes)
    ):
        response.body = msgspec.json.format(response.body, indent=2) + b"\n"
    return response
