"""What each type of problem means, for whoever follows a problem's ``type``."""

from __future__ import annotations

from textwrap import fill
from types import MappingProxyType
from typing import TYPE_CHECKING

from attrs import frozen

from asciid.api._document import Document
from asciid.api._problems import PROBLEM_TYPES, status_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PROBLEM_PAGES"]

_WIDTH = 72


@frozen
class _Page:
    happened: str
    """What happened."""
    todo: str
    """What a client should do."""
    retry: str
    """Whether the same request makes sense again."""


_NEVER = "No: the same request will get the same answer."
_SOON = "Yes, after the seconds in Retry-After, and less often each time."

_PAGES = {
    "malformed-body": _Page(
        "The body ended early, or its framing is broken. Nothing of it was stored.",
        "Send the whole body. A body that is cut off often means a proxy or a "
        "timeout between you and the service.",
        "Yes, if the body was complete when it left you.",
    ),
    "malformed-request": _Page(
        "The path or the body does not have the form that was asked for: a hash "
        "that is not 64 hex digits, JSON without a member that must be there, a "
        "number that is none, a size that is not that of the data. Nothing was "
        "stored.",
        "Read the detail, and /openapi.json for the form of each request.",
        _NEVER,
    ),
    "not-utf-8": _Page(
        "The body is not UTF-8; the member offset counts the bytes before the first "
        "one that is wrong. In JSON, an escape such as \\ud800 that is half of a "
        "surrogate pair is no character, either. Nothing was stored.",
        "Convert the image to UTF-8, with iconv for example. If it is UTF-8, a chunk "
        "was cut within a character: cut the image elsewhere, or send it whole with "
        "PUT /image/<sha256>.",
        _NEVER,
    ),
    "digest-mismatch": _Page(
        "The body is not the one that Content-Digest describes. Nothing was stored.",
        "Compute the digest over the body as it is sent, byte for byte.",
        "Yes, once: the body may have been changed on its way.",
    ),
    "chunk-out-of-range": _Page(
        "The image has fewer chunks than that. Ids count from 0, so the last one "
        "is one less than the number of chunks.",
        "GET /image/<sha256>/chunks, and cut the image as it is registered: "
        "somebody else may have registered it with another chunk_size.",
        _NEVER,
    ),
    "chunk-size-mismatch": _Page(
        "The chunk does not have the length that its place asks for: chunk_size, "
        "or what is left for the last chunk. Lengths are in bytes of UTF-8.",
        "GET /image/<sha256>/chunks, and cut the image as it is registered: "
        "somebody else may have registered it with another chunk_size. If a chunk of "
        "that length would end within a character, send the image whole with "
        "PUT /image/<sha256>.",
        _NEVER,
    ),
    "authorization-malformed": _Page(
        "The field Authorization is there twice, or what follows Bearer is no "
        "token: letters, digits and - . _ ~ + /, and perhaps = at the end.",
        "Send it once, as Authorization: Bearer, a space and the token, and nothing "
        "else.",
        _NEVER,
    ),
    "token-missing": _Page(
        "Who uploads or deletes here must bear a token, and the request has none. "
        "Downloads need no token. Nothing was stored.",
        "Ask whoever runs the service for a token, and send it in the field "
        "Authorization: Bearer, a space and the token.",
        _NEVER,
    ),
    "token-invalid": _Page(
        "The token in Authorization is not, or no longer, one of those that may "
        "upload and delete. Nothing was stored.",
        "See that the whole token is sent, and nothing else. If it is, ask whoever "
        "runs the service for a new one.",
        _NEVER,
    ),
    "not-found": _Page(
        "There is nothing at this path.",
        "Compare the path with those in /openapi.json; it matters where slashes "
        "are, and how many.",
        _NEVER,
    ),
    "image-not-found": _Page(
        "No image with this hash is registered. It may have been, if its bytes "
        "turned out to have another hash.",
        "To upload the image, register it with POST /image, or send all of it "
        "with PUT /image/<sha256>.",
        "Only once somebody may have registered it.",
    ),
    "image-incomplete": _Page(
        "The image is registered and chunks of it are missing. Nothing of an "
        "image is served before all of it is there and has the right hash.",
        "GET /image/<sha256>/chunks tells what is missing. Whoever has the bytes "
        "can upload the rest.",
        "Yes: the upload may be under way.",
    ),
    "image-gone": _Page(
        "The image was here, and was removed because the service keeps images for "
        "a limited time. After a day it is no longer remembered, and the answer "
        "is image-not-found.",
        "Whoever has the bytes can register and upload it again.",
        "Only once somebody may have uploaded it again.",
    ),
    "method-not-allowed": _Page(
        "The path is right and does not have this method.",
        "Use one of the methods in Allow.",
        _NEVER,
    ),
    "not-acceptable": _Page(
        "Accept or Accept-Encoding leaves no form of the image to send. Images "
        "are text/plain in UTF-8; they come as they are, or with the content "
        "coding zstd or gzip if they are neither too small nor too large for it.",
        "Accept text/plain, and do not rule identity out.",
        _NEVER,
    ),
    "body-too-slow": _Page(
        "The body came too slowly, or stopped coming. Nothing of it was stored.",
        "Send the body without pauses. On a slow line, upload the image in "
        "chunks: what is stored of it stays.",
        "Yes.",
    ),
    "image-exists": _Page(
        "The image is already registered, complete or not, by you or by somebody else.",
        "GET the status that Link leads to. If its state is complete there is "
        "nothing to do; if it is pending, upload what is missing, cut by the "
        "chunk_size that the status names.",
        "No: go on with the upload. If the answer to an earlier registration was "
        "lost, this is the answer: it succeeded.",
    ),
    "chunk-exists": _Page(
        "The chunk is already stored. The member identical says whether it has "
        "the bytes that were just sent.",
        "If identical is true, the chunk is safe: go on. If it is false, one of "
        "the two is wrong; the one stored stays, and when the image is whole its "
        "hash decides.",
        "No. If the answer to an earlier upload of the chunk was lost, and "
        "identical is true, it succeeded.",
    ),
    "precondition-failed": _Page(
        "A condition in the header of the request, such as If-Match or "
        "If-None-Match, does not hold. Nothing was changed.",
        "GET the resource to see how it is now, or leave the condition out.",
        "Not with the same condition.",
    ),
    "body-too-large": _Page(
        "The body is larger than the largest image that is taken here.",
        "The limit is in /openapi.json, in the schema Image.",
        _NEVER,
    ),
    "image-too-large": _Page(
        "The image is larger than what is taken here.",
        "The limit is in the detail, and in /openapi.json, in the schema ImageSize.",
        _NEVER,
    ),
    "chunk-too-large": _Page(
        "The chunk, or the chunk_size of a registration, is larger than what is "
        "taken here.",
        "Cut the image into smaller chunks. The limit is in the detail, and in "
        "/openapi.json, in the schema ChunkSize.",
        _NEVER,
    ),
    "not-json": _Page(
        "The body must be JSON in UTF-8, and Content-Type must say so.",
        "Send Content-Type: application/json, or a type that ends in +json. To send "
        "the image itself, use PUT /image/<sha256>.",
        _NEVER,
    ),
    "encoded-body": _Page(
        "The request has Content-Encoding. Bodies are taken as they are.",
        "Send the body without a content coding, and no Content-Encoding.",
        _NEVER,
    ),
    "multipart-body": _Page(
        "The body is multipart, as forms are. It must be the image itself.",
        "Send the bytes of the image as the body, with any other Content-Type: "
        "curl -T FILE does, and curl -F does not.",
        _NEVER,
    ),
    "range-not-satisfiable": _Page(
        "The image has none of the bytes that Range asks for.",
        "Content-Range tells the size of the image. A client that goes on with a "
        "download and has that many bytes has all of them.",
        _NEVER,
    ),
    "hash-mismatch": _Page(
        "The bytes do not have the hash under which they were sent. All that was "
        "uploaded was thrown away, the registration too, so that the next client "
        "can begin anew.",
        "Compute the SHA-256 over the UTF-8 bytes of the image, and compare it "
        "with the one in the detail. If chunks came from several clients, any "
        "of them may have been wrong.",
        "Begin again from the registration, once the hash or the bytes are right.",
    ),
    "internal-error": _Page(
        "The service failed to answer, which is its own fault, and logged why.",
        "Tell whoever runs the service, with the time of the request.",
        "Once or twice, later. What was sent may be stored or not; GET "
        "/image/<sha256>/chunks tells.",
    ),
    "client-uploads": _Page(
        "You have begun more uploads than one client may have under way. Nothing "
        "was registered.",
        "Finish the uploads you have begun: send what their status names as "
        "missing. Those that are left alone are removed in the end.",
        "Yes, once some of your uploads are finished or removed.",
    ),
    "too-many-uploads": _Page(
        "More uploads are under way, of all clients together, than the service "
        "takes. Nothing was registered.",
        "Wait; then send the same request. PUT needs no registration.",
        _SOON,
    ),
    "too-many-bodies": _Page(
        "More bytes of request bodies are on their way, of all clients together, than "
        "the service takes, and your address has sent the most of them. Nothing was "
        "stored.",
        "Wait; then send the same request, on a new connection. Use fewer connections, "
        "and send each body without pauses.",
        _SOON,
    ),
    "too-many-connections": _Page(
        "More connections are open, of all clients together, than the service takes, "
        "and your address has the most of them. Nothing was stored.",
        "Wait; then send the same request. Use fewer connections, and close those "
        "that you do not need.",
        _SOON,
    ),
    "store-busy": _Page(
        "More writes are waiting for the disk than is good. Nothing was stored.",
        "Wait; then send the same request. Use fewer connections.",
        _SOON,
    ),
    "not-ready": _Page(
        "The service runs, but cannot do all of its work now: its member checks "
        "says which check failed, and why. Images may be downloaded all the same.",
        "Send requests to another instance, if there is one. Whoever runs the "
        "service finds the cause in its log.",
        "Yes, every few seconds: it is answered 200 once all works again.",
    ),
    "stopping": _Page(
        "The service is stopping or starting anew. Nothing was stored.",
        "Wait; then send the same request, on a new connection.",
        _SOON,
    ),
    "writer-gone": _Page(
        "The process that writes ended before it answered. A new one takes its "
        "place; whether this request was carried out is not known.",
        "Wait; then send the same request. A 409 can mean that it was carried out: "
        "for a chunk, the member identical tells.",
        _SOON,
    ),
    "storage-failed": _Page(
        "The disk reported an error. Nothing was stored.",
        "Wait; then send the same request. If it goes on, tell whoever runs the "
        "service.",
        _SOON,
    ),
    "storage-full": _Page(
        "The disk has no room. Nothing was stored; what is stored can be read.",
        "Tell whoever runs the service.",
        "Later, in minutes rather than seconds: the service takes images again "
        "once there is room.",
    ),
}


def _text(name: str) -> str:
    status, title = PROBLEM_TYPES[name]
    page = _PAGES[name]
    sections = (
        ("What happened", page.happened),
        ("What to do", page.todo),
        ("Try again?", page.retry),
    )
    return f"{title} ({status_text(status)})\n" + "".join(
        f"\n{heading}\n{fill(body, _WIDTH)}\n" for heading, body in sections
    )


PROBLEM_PAGES: Mapping[str, Document] = MappingProxyType(
    {
        name: Document(_text(name).encode("utf-8"), b"text/plain; charset=utf-8")
        for name in PROBLEM_TYPES
    }
)
"""The page of each type of problem, by its name."""
