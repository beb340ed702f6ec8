"""Builders and real things for tests."""
