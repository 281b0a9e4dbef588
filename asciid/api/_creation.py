"""Stores a file whose hash its client does not know: POST and PUT of the root."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from asciid.api._about_fields import parse_about, sent_fields
from asciid.api._digests import ContentDigest
from asciid.api._edit_keys import EditKey, new_edit_key
from asciid.api._forms import Form, is_form
from asciid.api._list_fields import all_lines
from asciid.api._negotiation import names_html
from asciid.api._schema import charset_in, require_upload
from asciid.api._text_upload import TextUpload
from asciid.art.encodings import AUTO, is_utf_8
from asciid.errors import AsciidError
from asciid.http import read_body
from asciid.model import About, NewImage
from asciid.net.fair_limit import FairLimit
from asciid.store import fit_line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from asciid.api._request_interface import Request
    from asciid.api._text_upload import Converted
    from asciid.api._write_shares import SharedWriter
    from asciid.runtime.offload import IOffload
    from asciid.store import IImageStore

__all__ = ["Created", "Creations"]

ResultT = TypeVar("ResultT")

_MAX_HELD = 32 * 1024 * 1024
"""Bytes of all files in memory that may have to be converted."""

_EVICTED = "Your address has the most files that are being converted; retry later."


class Created(Struct, frozen=True):
    """The image that a request created, or found."""

    sha256: str
    new: bool
    edit_key: EditKey | None
    """The key of a new image; None if it has one, or if the image existed."""


class Creations:
    """
    Receives files.

    `max_size` is the limit on images in bytes; `offload` converts them to UTF-8.
    `clock` returns seconds since the epoch.
    """

    def __init__(
        self,
        store: IImageStore,
        offload: IOffload,
        *,
        max_size: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._offload = offload
        self._max_size = max_size
        self._clock = clock
        self.held = FairLimit(_MAX_HELD, time.monotonic)
        """The limit on bytes of files in memory that may have to be converted."""

    async def receive(
        self, request: Request, name: str, client: str, shared: SharedWriter
    ) -> Created:
        """
        Store the file that is the body of `request`, or in its form.

        `name` is its name, if known.  The body is passed to the store, or held in
        memory, as it arrives.  If the client disconnects before the end, nothing is
        stored; afterwards the image is stored even if the client disconnects.

        Errors: `MalformedRequestError`, `MalformedFormError`, `DigestMismatchError`,
        `InvalidAboutError`, those of `TextUpload` and of `asciid.http.read_body`.
        """
        require_upload(request)
        digest = ContentDigest(request)
        fields = sent_fields(request)
        parse_about(fields, About(), self._clock())
        content_type = request.getHeader(b"content-type") or b""
        upload = TextUpload(
            self._store,
            self._offload,
            self.held,
            shared,
            client=client,
            max_size=self._max_size,
        )
        form = Form(content_type, upload.receive) if is_form(content_type) else None
        take = form.receive if form else upload.receive
        charset = charset_in(content_type) or AUTO

        def receive(piece: bytes) -> Deferred[None]:
            digest.update(piece)
            return Deferred.fromCoroutine(take(piece))

        try:
            if form is None and is_utf_8(charset):
                await upload.pass_on()
            await _read(request, receive, upload)
            digest.verify()
            if form is not None:
                form.end()
                fields = {**fields, **form.fields}
                name = form.file_name or name
                charset = fields.get("charset") or form.file_charset or AUTO
        except BaseException:
            # Also if the client disconnects, which cancels this.
            await upload.close()
            raise
        return await _uncancelled(self._finish(upload, charset, name, fields))

    async def _finish(
        self, upload: TextUpload, charset: str, name: str, fields: Mapping[str, str]
    ) -> Created:
        key = new_edit_key()

        def describe(converted: Converted) -> NewImage:
            about = self._about(fields, name, converted)
            return NewImage(about, key.key_hash, converted.charset)

        try:
            stored = await upload.finish(charset, name, describe)
        finally:
            await upload.close()
        return Created(stored.sha256, stored.new, key if stored.described else None)

    def _about(
        self, fields: Mapping[str, str], name: str, converted: Converted
    ) -> About | None:
        """Return what is said about the image, None if that is nothing."""
        title = fit_line(converted.title or name)
        author = fit_line(converted.author)
        if not (fields or title or author):
            return None
        listed = self._store.listed_by_default
        defaults = About(title=title, author=author, listed=listed)
        return parse_about(fields, defaults, self._clock())


async def _read(
    request: Request,
    receive: Callable[[bytes], Deferred[None]],
    upload: TextUpload,
) -> None:
    """Read the body, unless the memory of `upload` is needed for another client."""
    reading = read_body(request, receive)
    evicted = False

    def evict() -> None:
        nonlocal evicted
        evicted = True
        reading.cancel()

    upload.on_eviction = evict
    try:
        await reading
    except CancelledError:
        if evicted:
            raise ServiceUnavailable(_EVICTED) from None
        raise
    finally:
        # Its failure has frames that refer to it: breaks the reference cycle.
        reading.addErrback(lambda _: None)


def _uncancelled(work: Coroutine[Any, Any, ResultT]) -> Deferred[ResultT]:
    """Do work whose result can be cancelled, as by a disconnect, but not itself."""
    result: Deferred[ResultT] = Deferred()

    def ended(outcome: ResultT | Failure) -> None:
        if isinstance(outcome, Failure) and outcome.check(AsciidError, HTTPException):
            # Its frames refer to `result`, which keeps the failure: a cycle.
            outcome.cleanFailure()
        result.callback(outcome)

    Deferred.fromCoroutine(work).addBoth(ended)
    return result


def answer_created(created: Created, request: Request, base_url: str) -> bytes:
    """
    Set the status and the header fields of the response; return the body.

    A form of a browser is redirected to the image's page; others get its URL.
    """
    page = f"/i/{created.sha256[:12]}"
    request.setHeader(b"Cache-Control", b"no-store")
    if created.edit_key is not None:
        created.edit_key.send(request)
    if _is_from_browser(request):
        request.setResponseCode(303)
        request.setHeader(b"Location", page.encode("ascii"))
        return b""
    if created.new:
        request.setResponseCode(201)
    # Also in a 200: the client does not know the hash.
    request.setHeader(b"Location", b"/image/" + created.sha256.encode("ascii"))
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    return f"{base_url}{page}\n".encode("ascii")


def _is_from_browser(request: Request) -> bool:
    return is_form(request.getHeader(b"content-type")) and names_html(
        all_lines(request, b"accept")
    )
