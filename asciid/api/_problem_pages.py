"""The documentation of the problem types, at the URIs of their ``type``."""

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
    """What to do."""
    retry: str
    """Whether to retry."""


_NEVER = "No: the same request gets the same response."
_SOON = "Yes, after the seconds in Retry-After, with exponential backoff."

_PAGES = {
    "malformed-body": _Page(
        "The body ended early, or its framing is broken. Nothing of it was stored.",
        "Send the whole body. An incomplete body often means a proxy or a timeout "
        "between client and service.",
        "Yes, if the client sent the whole body.",
    ),
    "malformed-request": _Page(
        "The path or the body is malformed: a hash that is not 64 hex digits, JSON "
        "without a required member, an invalid number, a size that does not match the "
        "data. Nothing was stored.",
        "See the detail, and /openapi.json for the schema of each request.",
        _NEVER,
    ),
    "malformed-form": _Page(
        "The body is not a form with one file: multipart/form-data with a part named "
        "file. Nothing was stored.",
        "See the detail. With curl: -F file=@fish.txt. A browser sends the file if one "
        "was chosen.",
        _NEVER,
    ),
    "not-utf-8": _Page(
        "The body is not UTF-8; the member offset is that of the first invalid byte. "
        "In JSON, the escape of a lone surrogate such as \\ud800 is invalid, too. "
        "Nothing was stored.",
        "Convert the image to UTF-8, with iconv for example. If it is UTF-8, the "
        "chunk splits a character: use another chunk_size, or send the image whole "
        "with PUT /image/<sha256>.",
        _NEVER,
    ),
    "digest-mismatch": _Page(
        "The body does not match Content-Digest. Nothing was stored.",
        "Compute the digest of the body exactly as sent.",
        "Yes, once: the body may have been damaged in transit.",
    ),
    "chunk-out-of-range": _Page(
        "The image has fewer chunks. Ids count from 0, so the last one is one less "
        "than the number of chunks.",
        "GET /image/<sha256>/chunks, and use the registered chunk_size: another "
        "client may have registered the image with another one.",
        _NEVER,
    ),
    "chunk-size-mismatch": _Page(
        "The chunk has the wrong length for its id: chunk_size, or the rest of the "
        "image for the last chunk. Lengths are in bytes of UTF-8.",
        "GET /image/<sha256>/chunks, and use the registered chunk_size: another "
        "client may have registered the image with another one. If chunks of that "
        "length split a character, send the image whole with PUT /image/<sha256>.",
        _NEVER,
    ),
    "authorization-malformed": _Page(
        "The field Authorization is repeated, or has no token after Bearer: letters, "
        "digits and - . _ ~ + /, optionally with = at the end.",
        "Send it once, as Authorization: Bearer, a space and the token, and nothing "
        "else.",
        _NEVER,
    ),
    "token-missing": _Page(
        "Uploads and deletions require a token, and the request has none. Downloads "
        "require no token. Nothing was stored.",
        "Get a token from the operator of the service, and send it in the field "
        "Authorization: Bearer, a space and the token.",
        _NEVER,
    ),
    "token-invalid": _Page(
        "The token in Authorization is not, or no longer, valid. Nothing was stored.",
        "Check that the whole token is sent, and nothing else. If so, get a new one "
        "from the operator of the service.",
        _NEVER,
    ),
    "cross-site": _Page(
        "A page of another site sent the request. Nothing was stored.",
        "Upload from a page of this service, or from the command line. The operator of "
        "the service can allow other sites in the setting --write-origins.",
        _NEVER,
    ),
    "edit-key-missing": _Page(
        "An image, and what is said about it, can be changed and deleted only with its "
        "edit key, or with a token if the service has tokens.",
        "Send the edit key in the field Asciid-Edit-Key. It was in the response to the "
        "upload, and cannot be looked up.",
        _NEVER,
    ),
    "wrong-edit-key": _Page(
        "The edit key is not that of the image, or the image has none. Nothing was "
        "changed.",
        "Send the whole key that the response to the first upload of the image had.",
        _NEVER,
    ),
    "invalid-about": _Page(
        "A title, description, author, licence, tag or time of expiry breaks a rule; "
        "the member field names it. Nothing was stored.",
        "Correct it as the detail says. The limits are in /openapi.json, schema About.",
        _NEVER,
    ),
    "about-changed": _Page(
        "What is said about the image was changed by another request in the meantime. "
        "Nothing was changed by this one.",
        "GET it again, and repeat the change with the new ETag.",
        "Not with the same If-Match.",
    ),
    "image-blocked": _Page(
        "The operator of the service has blocked the image; the detail has the reason. "
        "It is not served (451), and cannot be uploaded (403).",
        "Ask the operator of the service.",
        _NEVER,
    ),
    "not-found": _Page(
        "No resource exists at this path.",
        "Compare the path with those in /openapi.json, including every slash.",
        _NEVER,
    ),
    "image-not-found": _Page(
        "No image with this hash is registered. An upload of it may have been "
        "discarded for a hash mismatch.",
        "To upload the image, register it with POST /image, or send it whole with PUT "
        "/image/<sha256>.",
        "Only if it may have been registered meanwhile.",
    ),
    "not-renderable": _Page(
        "The image is complete, but there is no picture or style sheet of it: it is "
        "too large to be rendered, or the service renders no PNG.",
        "Use the text of the image, at /image/<sha256>.",
        _NEVER,
    ),
    "image-incomplete": _Page(
        "The image is registered, but chunks are missing. An image is served only "
        "when it is complete and its hash is verified.",
        "GET /image/<sha256>/chunks lists the missing chunks. Any client that has the "
        "bytes can upload them.",
        "Yes: the upload may be in progress.",
    ),
    "image-gone": _Page(
        "The image has expired: the service keeps images for a limited time. After a "
        "day the response becomes image-not-found.",
        "Any client that has the bytes can upload it again.",
        "Only if it may have been uploaded again.",
    ),
    "method-not-allowed": _Page(
        "The path exists, but does not support this method.",
        "Use one of the methods in Allow.",
        _NEVER,
    ),
    "not-acceptable": _Page(
        "No representation of the image is acceptable by Accept and Accept-Encoding. "
        "Images are text/plain in UTF-8; the content codings zstd and gzip are "
        "available if the image is neither too small nor too large.",
        "Accept text/plain, and do not exclude identity.",
        _NEVER,
    ),
    "body-too-slow": _Page(
        "The body arrived too slowly, or stalled. Nothing of it was stored.",
        "Send the body without pauses. On a slow connection, upload the image in "
        "chunks: stored chunks are kept.",
        "Yes.",
    ),
    "image-exists": _Page(
        "The image is already registered, complete or pending, by this or another "
        "client.",
        "GET the status at the URL in Link. If the state is complete there is nothing "
        "to do; if it is pending, upload the missing chunks, with the chunk_size in "
        "the status.",
        "No: continue with the upload. If the response to an earlier registration was "
        "lost, the registration succeeded.",
    ),
    "chunk-exists": _Page(
        "The chunk is already stored. The member identical is true if the bytes sent "
        "are those stored.",
        "If identical is true, continue. If it is false, one of the two is wrong; the "
        "stored one is kept, and verified by the hash of the whole image.",
        "No. If the response to an earlier upload of the chunk was lost, and "
        "identical is true, it succeeded.",
    ),
    "precondition-failed": _Page(
        "A precondition of the request, such as If-Match or If-None-Match, failed. "
        "Nothing was changed.",
        "GET the current state of the resource, or omit the condition.",
        "Not with the same condition.",
    ),
    "body-too-large": _Page(
        "The body exceeds the limit on images.",
        "See the limit in /openapi.json, schema Image.",
        _NEVER,
    ),
    "image-too-large": _Page(
        "The image exceeds the limit.",
        "See the limit in the detail, and in /openapi.json, schema ImageSize.",
        _NEVER,
    ),
    "chunk-too-large": _Page(
        "The chunk, or the chunk_size of a registration, exceeds the limit.",
        "Use smaller chunks. See the limit in the detail, and in /openapi.json, "
        "schema ChunkSize.",
        _NEVER,
    ),
    "not-json": _Page(
        "The Content-Type is not JSON in UTF-8.",
        "Send Content-Type: application/json, or a type that ends in +json. To send "
        "the image itself, use PUT /image/<sha256>.",
        _NEVER,
    ),
    "encoded-body": _Page(
        "The request has Content-Encoding, which is not supported for uploads.",
        "Send the body without a content coding, and no Content-Encoding.",
        _NEVER,
    ),
    "multipart-body": _Page(
        "The body is multipart, such as a form. It must be the image itself.",
        "Send the bytes of the image as the body, with any other Content-Type: curl "
        "-T FILE does that, curl -F does not.",
        _NEVER,
    ),
    "unsupported-charset": _Page(
        "The charset in Content-Type is unknown, or it is not UTF-8 and the request "
        "does not convert. Nothing was stored.",
        "Name a charset that the detail lists, or auto. PUT /image/<sha256> stores "
        "UTF-8 only; POST / converts other charsets.",
        _NEVER,
    ),
    "range-not-satisfiable": _Page(
        "No requested range is within the image.",
        "Content-Range has the size of the image. If a resumed download already has "
        "that many bytes, it is complete.",
        _NEVER,
    ),
    "hash-mismatch": _Page(
        "The bytes do not have the registered hash. The upload was discarded with its "
        "registration, so that it can be started again.",
        "Compute the SHA-256 over the UTF-8 bytes of the image, and compare it with "
        "the one in the detail. If several clients sent chunks, any of them may be "
        "wrong.",
        "Start again with the registration, once the hash or the bytes are corrected.",
    ),
    "undecodable-text": _Page(
        "The file is not text in the charset that was named, or its charset cannot be "
        "detected, or it is too large to be converted. The member offset is that of "
        "the first invalid byte, charsets are those that the file may have. Nothing "
        "was stored.",
        "Name the charset of the file, as in Content-Type: text/plain; charset=cp437, "
        "or convert it to UTF-8. Only text can be stored.",
        _NEVER,
    ),
    "internal-error": _Page(
        "The service has a bug, and logged the error.",
        "Report it to the operator of the service, with the X-Request-Id.",
        "Once or twice, later. It is unknown whether the write was stored; GET "
        "/image/<sha256>/chunks shows it.",
    ),
    "client-uploads": _Page(
        "The limit on pending uploads per client is reached. Nothing was registered.",
        "Finish your pending uploads: send the chunks that are missing in their "
        "status. Uploads without activity expire.",
        "Yes, once some of your uploads are finished or expired.",
    ),
    "upload-rate": _Page(
        "Your address has uploaded or registered as many images as the service allows "
        "in a time. Nothing was stored, and nothing of the body was read.",
        "Wait for the seconds in Retry-After, and spread your uploads.",
        "Yes, after the seconds in Retry-After.",
    ),
    "too-many-uploads": _Page(
        "The limit on pending uploads of all clients is reached. Nothing was "
        "registered.",
        "Wait, then retry. PUT requires no registration.",
        _SOON,
    ),
    "too-many-bodies": _Page(
        "The limit on bytes of request bodies of all clients is reached, and your "
        "address has the most of them. Nothing was stored.",
        "Wait, then retry on a new connection. Use fewer connections, and send each "
        "body without pauses.",
        _SOON,
    ),
    "too-many-connections": _Page(
        "The limit on connections of all clients is reached, and your address has the "
        "most of them. Nothing was stored.",
        "Wait, then retry. Use fewer connections, and close unused ones.",
        _SOON,
    ),
    "store-busy": _Page(
        "Too many requests wait for the storage. Nothing was stored.",
        "Wait, then retry. Use fewer connections.",
        _SOON,
    ),
    "renderer-busy": _Page(
        "Too many pages and pictures wait to be rendered, or the renderer does not "
        "start. Images themselves are served as ever, as text.",
        "Wait, then retry; or use the text, at /image/<sha256>.",
        _SOON,
    ),
    "rendering-failed": _Page(
        "The image could not be rendered: that took too long or failed unexpectedly, "
        "which was logged. It is not tried again for a minute.",
        "Use the text of the image, at /image/<sha256>.",
        _SOON,
    ),
    "not-ready": _Page(
        "The service is running but not ready: the member checks has the failed "
        "checks and their reasons. Downloads may still work.",
        "Send requests to another instance, if there is one. The operator of the "
        "service finds the cause in its log.",
        "Yes, every few seconds, until the status is 200.",
    ),
    "stopping": _Page(
        "The service is stopping or restarting. Nothing was stored.",
        "Wait, then retry on a new connection.",
        _SOON,
    ),
    "writer-gone": _Page(
        "The writer process exited before it responded, and is being replaced; "
        "whether this request was carried out is unknown.",
        "Wait, then retry. A 409 can mean that it was carried out; for a chunk, see "
        "the member identical.",
        _SOON,
    ),
    "writer-unavailable": _Page(
        "The writer process is being replaced. Nothing was stored.",
        "Wait, then retry.",
        _SOON,
    ),
    "database-unavailable": _Page(
        "The service cannot reach its database, or gets no answer from it, perhaps "
        "while another server takes over. Nothing was stored.",
        "Wait, then retry.",
        _SOON,
    ),
    "commit-failed": _Page(
        "The disk reported an error during the commit; whether this request was "
        "carried out is unknown.",
        "Wait, then retry. A 409 can mean that it was carried out; for a chunk, see "
        "the member identical. If the error persists, report it to the operator of "
        "the service.",
        _SOON,
    ),
    "storage-failed": _Page(
        "The disk reported an error. Nothing was stored; or, if the request was a "
        "read, the storage cannot be read.",
        "Wait, then retry. If the error persists, report it to the operator of the "
        "service.",
        _SOON,
    ),
    "storage-full": _Page(
        "The disk is full. Nothing was stored; stored images can be read.",
        "Report it to the operator of the service.",
        "Later, in minutes rather than seconds: the service accepts images again once "
        "there is room.",
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
