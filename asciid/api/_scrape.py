"""The metrics endpoint, on the port of the service or on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from klein import Klein

from asciid.api._problems import answer_problem, problem_for

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure
    from twisted.web.iweb import IRequest

    from asciid.api._request_interface import Request
    from asciid.metrics import Metrics, Page

__all__ = ["MetricsAPI", "answer_scrape"]


def answer_scrape(request: Request, metrics: Metrics) -> Deferred[bytes]:
    """Set the status and the header fields of a GET or HEAD; return the body."""

    def measured(page: Page) -> bytes:
        request.setHeader(b"Content-Type", page.content_type.encode("ascii"))
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Content-Length", b"%d" % len(page.content))
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"Vary", b"Accept")
        return page.content

    accept = request.getHeader(b"accept") or b""
    return metrics.page(accept.decode("latin-1")).addCallback(measured)


class MetricsAPI:
    """An HTTP service with `metrics` only."""

    app = Klein()

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    @app.route("/metrics", methods=["GET"])
    def scrape(self, request: Request) -> Deferred[bytes]:
        """Send the metrics."""
        return answer_scrape(request, self.metrics)

    @app.handle_errors(Exception)
    def _refused(self, request: IRequest, failure: Failure) -> bytes:
        problem = problem_for(failure.value)
        self.metrics.requests.refuse(problem.name)
        return answer_problem(cast("Request", request), problem, failure)
