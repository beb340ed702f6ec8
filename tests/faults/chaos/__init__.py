"""The crash loop of ``reliability.md`` 3.3: outside actors, each a process of its own, and an auditor.

``load`` calls webhooks, ``monkey`` kills the server, the flows' scripts write a ledger, ``audit`` compares what was
promised with what happened. None of them knows anything of Lanner but its public API.
"""
