"""
Calls a Klein app's endpoints and error handlers, with Klein's meaning.

A handler that answers with bytes at once costs no Deferred and no closure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from klein import Response
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRenderable
from twisted.web.resource import IResource
from twisted.web.template import renderElement
from werkzeug.exceptions import HTTPException

from ._ids import request_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from klein import Klein

    from ._request import Request

__all__ = ["Dispatcher"]

_log = Logger()
_RENDERED = object()
"""The response is written by somebody else."""


class Dispatcher:
    """
    Runs requests through one app.

    :param problem: makes the body of the answer to a handler that failed.
    :param methods: the methods that the app knows, as the value of Allow.
    """

    def __init__(
        self,
        app: Klein,
        problem: Callable[[int, str, str | None], bytes],
        methods: bytes,
    ) -> None:
        self._methods = methods
        self._execute = app.execute_endpoint
        self._execute_error_handler = app.execute_error_handler
        self._error_handlers = app._error_handlers  # noqa: SLF001  # not shown otherwise
        self._problem = problem

    def run(self, request: Request) -> None:
        """Call the endpoint that the request was routed to."""
        endpoint = request.route.endpoint
        if endpoint is None:
            self._run_nowhere(request)
            return
        try:
            result = self._execute(endpoint, request, **request.values)
        except Exception:  # noqa: BLE001  # whatever it is, the error handlers get it
            self.fail(Failure(), request)
        else:
            self._take(result, request, 0)

    def fail(self, failure: Failure, request: Request, first: int = 0) -> None:
        """
        Let the error handlers answer.

        :param first: the first of the handlers that may be asked.
        """
        handlers = self._error_handlers
        for index in range(first, len(handlers)):
            if request.finished or request.gone:
                break
            kinds, handler = handlers[index]
            if not failure.check(*kinds):
                continue
            try:
                result = self._execute_error_handler(handler, request, failure)
            except Exception:  # noqa: BLE001  # the next handlers get it
                failure = Failure()
                continue
            self._take(result, request, index + 1)
            return
        self._default(failure, request)

    def _run_nowhere(self, request: Request) -> None:
        failure, request.failure = request.failure, None
        if failure is not None:
            self.fail(failure, request)
        else:  # RFC 9110 9.3.7: OPTIONS for the server as a whole
            request.setResponseCode(204)
            request.setHeader(b"allow", self._methods)
            request.respond(b"")

    def _take(self, result: object, request: Request, next_handler: int) -> None:
        # The result of an endpoint or an error handler.
        if type(result) is bytes and not (request.finished or request.gone):
            try:
                request.respond(result)
            except Exception:  # noqa: BLE001  # logged
                _write_failed(Failure(), request)
        elif isinstance(result, Deferred):
            if result.called and type(result.result) is bytes and not result.paused:
                # An answer that is here already, as one from a cache is: without
                # the cost of two callbacks.
                self._take(result.result, request, next_handler)
                return
            request.deferred = result
            result.addCallbacks(
                self._write,
                self.fail,
                callbackArgs=(request, next_handler),
                errbackArgs=(request, next_handler),
            )
            result.addErrback(_write_failed, request)
        elif isinstance(result, Failure):
            self.fail(result, request, next_handler)
        else:
            try:
                self._write(result, request, next_handler)
            except Exception:  # noqa: BLE001  # logged
                _write_failed(Failure(), request)

    def _write(self, result: object, request: Request, next_handler: int) -> None:
        try:
            if type(result) is not bytes:
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

    def _default(self, failure: Failure, request: Request) -> None:
        # No handler has dealt with it.
        if request.finished or request.gone:
            if not failure.check(CancelledError):
                _log.failure(
                    "A handler failed after its response: {request_id}",
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
            "A handler failed: {request_id}",
            failure=failure,
            request_id=request_id(request),
        )
        if request.started:
            # An end now would make half an answer look like a whole one.
            request.loseConnection()
            return
        request.setResponseCode(500)
        request.setHeader(b"content-type", b"application/problem+json")
        request.respond(self._problem(500, "The server failed to answer.", None))


def _render(result: object, request: Request) -> object:
    # What Klein accepts from a handler, besides bytes and text.
    if isinstance(result, Response):
        result = result._applyToRequest(request)  # noqa: SLF001  # what Klein does
    if IResource.providedBy(result):
        # Branches would need the whole of twisted.web's request.
        message = "resources below a Klein route are not served by this front"
        raise TypeError(message)
    if IRenderable.providedBy(result):
        renderElement(request, result)
        return _RENDERED
    return result


def _write_failed(failure: Failure, request: Request) -> None:
    _log.failure(
        "A response could not be written: {request_id}",
        failure=failure,
        request_id=request_id(request),
    )
    if not (request.finished or request.gone):
        request.loseConnection()
