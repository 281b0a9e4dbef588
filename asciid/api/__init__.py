"""The HTTP API: routes, request validation, responses and problem documents."""

from asciid.api._problems import PROBLEM_TYPES, problem_for_status
from asciid.api._routes import ImageAPI
from asciid.api._scrape import MetricsAPI

__all__ = [
    "PROBLEM_TYPES",
    "ImageAPI",
    "MetricsAPI",
    "problem_for_status",
]
