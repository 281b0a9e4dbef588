"""The HTTP service: requests in, images and problem documents out."""

from asciid.api._problems import problem_for_status
from asciid.api._routes import ImageAPI

__all__ = ["ImageAPI", "problem_for_status"]
