"""Properties that are kept but not acted upon say so when the flow is saved."""

from __future__ import annotations

from namespaces.flows.catalog import Catalog
from namespaces.flows.parse import read_flow

FLOW = """\
id: f
namespace: a.b
quotas: [{duration: PT1H, limit: 1, behavior: FAIL}]
listeners: [{tasks: [{id: l, type: io.kestra.plugin.core.log.Log, message: x}]}]
tasks:
  - id: t
    type: io.kestra.plugin.core.debug.Return
    format: x
    taskCache: {enabled: true}
"""


def test_what_has_no_effect_yet_is_told_with_its_place() -> None:
    reading = read_flow(FLOW, Catalog())

    told = {problem.message: problem.line for problem in reading.problems if problem.code == "F115"}
    assert reading.flow is not None
    assert told == {"listeners has no effect in this version": 4}
