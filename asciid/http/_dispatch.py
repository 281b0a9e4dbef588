"""
Calls a Klein app's endpoints and error handlers, with Klein's meaning.

A handler that returns bytes, or a Deferred that has fired, costs no callback.
"""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING

from klein import Response
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRenderable
from twisted.web.resource import IResource
from twisted.web.template import renderElement
from werkzeug.exceptions import HTTPException

from asciid.http._ids import request_id
from asciid.http._klein_call import klein_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from klein import Klein

    from asciid.http._request import Request

__all__ = ["Dispatcher"]

_log = Logger()
_RENDERED = object()
"""The response is written by a renderer."""


class Dispatcher:
    """
    Runs requests through one app.

    :param problem: makes the body of the response to a request whose handler failed.
    :param methods: the methods that the app knows, as the value of Allow.
    """

    def __init__(
        self,
        app: Klein,
        problem: Callable[[int, str, str | None], bytes],
        methods: bytes,
    ) -> None:
        self._methods = methods
        self._error_handlers = [
            (tuple(kinds), klein_call(handler, app._instance))  # noqa: SLF001  # Klein has no other access
            for kinds, handler in app._error_handlers  # noqa: SLF001  # likewise
        ]
        self._problem = problem

    def run(self, request: Request) -> None:
        """Call the endpoint of the request's route."""
        route = request.route
        if route.call is None:
            self._run_unmatched(request)
            return
        values, variable = request.values, route.variable
        try:
            if variable is not None:
                # To pass a value by its name costs far more.
                result = route.call(request, values[variable])
            elif values:
                result = route.call(request, **values)
            else:
                result = route.call(request)
        except Exception:  # noqa: BLE001  # the error handlers get it
            self.fail(Failure(), request)
        else:
            if type(result) is not bytes or request.finished or request.gone:
                self._take(result, request, 0)
                return
            try:
                request.respond(result)
            except Exception:  # noqa: BLE001  # logged
                _write_failed(Failure(), request)

    def fail(self, failure: Failure, request: Request, first: int = 0) -> None:
        """
        Let the error handlers respond.

        :param first: index of the first error handler to try.
        """
        handlers = self._error_handlers
        for index in range(first, len(handlers)):
            if request.finished or request.gone:
                break
            kinds, handler = handlers[index]
            if not isinstance(failure.value, kinds):
                continue
            try:
                result = handler(request, failure)
            except Exception:  # noqa: BLE001  # the next handlers get it
                self.fail(Failure(), request, index + 1)
            else:
                self._take(result, request, index + 1)
            return
        self._fail_by_default(failure, request)

    def _run_unmatched(self, request: Request) -> None:
        error = request.route.error
        if error is not None:
            self.fail(Failure(error), request)
        else:  # RFC 9110 9.3.7: OPTIONS for the server as a whole
            request.setResponseCode(204)
            request.setHeader(b"allow", self._methods)
            request.respond(b"")

    def _take(self, result: object, request: Request, next_handler: int) -> None:
        # The result of an endpoint or an error handler.
        if type(result) is CoroutineType:
            result = Deferred.fromCoroutine(result)
        # Deferred is an ABC, of which isinstance() is slow.
        if type(result) is not bytes and isinstance(result, Deferred):
            if not result.called or type(result.result) is not bytes or result.paused:
                request.awaited = result
                result.addBoth(self._answer, request, next_handler)
                return
            result = result.result
        self._answer(result, request, next_handler)

    def _answer(self, result: object, request: Request, next_handler: int) -> None:
        try:
            if type(result) is bytes and not (request.finished or request.gone):
                request.respond(result)
            elif isinstance(result, Failure):
                self.fail(result, request, next_handler)
            else:
                self._write(result, request, next_handler)
        except Exception:  # noqa: BLE001  # logged
            _write_failed(Failure(), request)

    def _write(self, result: object, request: Request, next_handler: int) -> None:
        try:
            result = _render(result, request)
        except Exception:  # noqa: BLE001  # the next handlers get it
            self.fail(Failure(), request, next_handler)
            return
        if request.gone or result is _RENDERED:
            return
        if isinstance(result, str):
            result = result.encode("utf-8")
        if request.finished:
            if isinstance(result, bytes):
                request.write(result)  # raises, and so is logged
            return
        request.respond(result if isinstance(result, bytes) else b"")

    def _fail_by_default(self, failure: Failure, request: Request) -> None:
        # No error handler handled it.
        if request.finished or request.gone:
            if not failure.check(CancelledError):
                _log.failure(
                    "handler of request {request_id} failed after its response",
                    failure=failure,
                    request_id=request_id(request),
                )
            return
        error = failure.value
        if isinstance(error, HTTPException):
            response = error.get_response({})
            request.setResponseCode(response.status_code)
            for name, value in response.headers:
                request.setHeader(name, value)
            request.respond(response.get_data())
            return
        _log.failure(
            "handler of request {request_id} failed",
            failure=failure,
            request_id=request_id(request),
        )
        if request.started:
            # An end now would make half a response look like a whole one.
            request.loseConnection()
            return
        body = self._problem(500, "The server failed to answer.", None)
        request.setResponseCode(500)
        request.setHeader(b"content-type", b"application/problem+json")
        request.setHeader(b"x-content-type-options", b"nosniff")
        request.setHeader(b"content-length", b"%d" % len(body))
        request.respond(body)


def _render(result: object, request: Request) -> object:
    # What Klein accepts from a handler, besides bytes and text.
    if isinstance(result, Response):
        result = result._applyToRequest(request)  # noqa: SLF001  # what Klein does
    if IResource.providedBy(result):
        # Branches would need the whole of twisted.web's request.
        message = "resources below a Klein route are not served by this HTTP server"
        raise TypeError(message)
    if IRenderable.providedBy(result):
        renderElement(request, result)
        return _RENDERED
    return result


def _write_failed(failure: Failure, request: Request) -> None:
    _log.failure(
        "cannot write the response to request {request_id}",
        failure=failure,
        request_id=request_id(request),
    )
    if not (request.finished or request.gone):
        request.loseConnection()
