"""
The empty handler on aiohttp's own server.

    empty_aiohttp.py PORT
"""

import sys

from aiohttp import web


async def register(request: web.Request) -> web.Response:
    """Read the body and keep nothing."""
    await request.json()
    return web.Response(status=201)


app = web.Application()
app.router.add_post("/image", register)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, backlog=1024)
