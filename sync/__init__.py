"""Git to revisions: fetch, read, plan, apply. Imports ``namespaces`` only."""
