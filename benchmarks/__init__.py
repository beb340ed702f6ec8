"""Measures of the workloads in docs/explanation/performance.md; nothing here asserts or runs in production."""
