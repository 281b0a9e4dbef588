"""What the daemon does, counted, in the form that Prometheus reads."""

from asciid.metrics._exposition import Metrics, Page

__all__ = ["Metrics", "Page"]
