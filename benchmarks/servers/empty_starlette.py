"""The empty handler on Starlette; uvicorn serves `app`."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def register(request: Request) -> Response:
    """Read the body and keep nothing."""
    await request.json()
    return Response(status_code=201)


app = Starlette(routes=[Route("/image", register, methods=["POST"])])
