"""Revisions to executions: engine, triggers, dispatch, workers. Imports ``namespaces`` only."""
