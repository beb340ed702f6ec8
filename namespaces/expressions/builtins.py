"""The complete table of the language: importing this registers every filter, function and test."""

from namespaces.expressions import (
    calendar_functions,
    collection_filters,
    conversion,
    date_filters,
    functions,
    outreach,
    rendering,
    text_filters,
    value_tests,
)
from namespaces.expressions.registry import FILTERS, FUNCTIONS, TESTS

__all__ = ["FILTERS", "FUNCTIONS", "TESTS", "documented"]


def documented() -> tuple[object, ...]:
    """The modules that hold the implementations, in the order of the reference."""
    return (
        text_filters, collection_filters, conversion, date_filters, calendar_functions, functions, outreach,
        rendering, value_tests,
    )  # fmt: skip
