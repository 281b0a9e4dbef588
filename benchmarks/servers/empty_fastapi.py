"""The empty handler on FastAPI; uvicorn serves `app`."""

from fastapi import FastAPI, Response
from pydantic import BaseModel


class Registration(BaseModel):
    """The body, which FastAPI parses and checks itself."""

    sha256: str
    size: int
    chunk_size: int


app = FastAPI()


@app.post("/image")
async def register(_registration: Registration) -> Response:
    """Read the body and keep nothing."""
    return Response(status_code=201)
