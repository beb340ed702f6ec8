"""The one data-access layer: two databases, one set of statements, one conformance suite."""
