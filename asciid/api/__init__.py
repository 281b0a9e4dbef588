"""The HTTP API: routes, request validation, responses and problem documents."""

from asciid.api._problems import problem_for_status
from asciid.api._routes import ImageAPI
from asciid.api._schema import InputLimits
from asciid.api._scrape import MetricsAPI

__all__ = ["ImageAPI", "InputLimits", "MetricsAPI", "problem_for_status"]
