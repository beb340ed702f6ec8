"""Flows of Kestra 0.x and 1.x as flows of 2.x (``versions.md`` 5 and 6): files in, edited texts and remarks out. Pure.

One module per family of rules; ``sheet`` edits text and proves it, ``convert`` runs the rules over a set of files.
"""

from namespaces.flows.migration.convert import Outcome, SourceFile, Status, migrate
from namespaces.flows.migration.draft import Remark
from namespaces.flows.migration.rules import RULES

__all__ = ["RULES", "Outcome", "Remark", "SourceFile", "Status", "migrate"]
