"""A study as one HTML page."""

from search.report.page import figures

__all__ = ["figures"]
