"""A wired instance with flows, executions and a Git source, and clients for its pages; shared by this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.auth.setup import accounts_of
from service.web import create_app
from tests.support.gitrepo import GitRepo
from tests.support.instances import wired

HOSTILE = """<script>alert("x")</script>'"&{{ 7*7 }}"""
USER, PASSWORD = "ana@example.com", "correct horse battery"

GOOD = """\
id: report
namespace: company.team
description: |
  A **report**. <script>alert("x")</script> [link](javascript:alert(1)) [good](https://example.com)
labels:
  env: prod
  note: "<script>alert('label')</script>"
inputs:
  - id: name
    type: STRING
    defaults: '<script>alert("input")</script>'
  - id: count
    type: INT
    min: 1
    max: 5
    defaults: 2
  - id: colour
    type: SELECT
    values: [red, green]
    defaults: red
  - id: secret
    type: SECRET
    required: false
  - id: when
    type: DATE
    required: false
  - id: sure
    type: BOOL
    defaults: true
  - id: several
    type: MULTISELECT
    values: [a, b, c]
    required: false
  - id: attachment
    type: FILE
    required: false
  - id: data
    type: JSON
    required: false
tasks:
  - id: say
    type: io.kestra.plugin.core.log.Log
    message: '<script>alert("log")</script> {{ inputs.name }}'
  - id: values
    type: io.kestra.plugin.core.output.OutputValues
    values:
      hostile: '<script>alert("output")</script>'
      nested: {a: [1, 2, {b: true}]}
  - id: both
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - id: left
        type: io.kestra.plugin.core.log.Log
        message: left
      - id: right
        type: io.kestra.plugin.core.log.Log
        message: right
        disabled: true
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: [1, 2, 3]
    tasks:
      - id: one
        type: io.kestra.plugin.core.debug.Return
        format: "{{ taskrun.value }}"
outputs:
  - id: hello
    type: STRING
    value: '<script>alert("{{ inputs.name }}")</script>'
triggers:
  - id: nightly
    type: io.kestra.plugin.core.trigger.Schedule
    cron: "0 3 * * *"
    timezone: Europe/Berlin
  - id: hook
    type: io.kestra.plugin.core.trigger.Webhook
    key: a-very-secret-key
"""
FAILING = """\
id: failing
namespace: company.team
tasks:
  - id: fine
    type: io.kestra.plugin.core.log.Log
    message: fine
  - id: broken
    type: io.kestra.plugin.core.execution.Fail
    errorMessage: '<script>alert("error")</script> the disk is full'
"""
BROKEN = """\
id: typo
namespace: company.git
tasks:
  - id: first
    type: io.kestra.plugin.core.log.Logg
    message: hi
"""
FROM_GIT = """\
id: from_git
namespace: company.git
tasks:
  - id: first
    type: io.kestra.plugin.core.log.Log
    message: hi
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """The pages of a server on which nothing has happened."""
    lanner = wired(tmp_path_factory.mktemp("empty"), auth={"mode": "none"})
    yield create_app(lanner).test_client()
    lanner.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """A server with one administrator."""
    lanner = wired(tmp_path_factory.mktemp("guarded"))
    accounts_of(lanner).save_user(USER, PASSWORD)
    yield create_app(lanner)
    lanner.close()


class Site:
    """A server with flows of the API and of Git, one of them broken, and executions that went well and badly."""

    def __init__(self, folder: Path) -> None:
        self.repo = GitRepo(folder)
        self.repo.commit({"namespaces/company.git/flows/from_git.yaml": FROM_GIT}, "The first flow")
        source = {
            "name": "flows",
            "url": self.repo.url,
            "ref": {"branch": "main"},
            "namespaces": ["company.git"],
        }
        self.lanner = wired(folder / "data", auth={"mode": "none"}, git={"allow_file_urls": True, "sources": [source]})
        self.lanner.start()
        self.client = create_app(self.lanner).test_client()
        for text in (GOOD, FAILING):
            self.api("POST", "/flows", data=text, content_type="application/x-yaml")
        self.run = self.api("POST", "/executions/company.team/report?wait=true")
        self.failed = self.api("POST", "/executions/company.team/failing?wait=true")
        self.lanner.sync.sync_now("flows")
        changed = FROM_GIT.replace("message: hi", 'message: "<script>alert(1)</script>"')
        self.head = self.repo.commit({"namespaces/company.git/flows/from_git.yaml": changed}, "Say <b>more</b>")
        self.lanner.sync.sync_now("flows")
        self.repo.commit({"namespaces/company.git/flows/typo.yaml": BROKEN}, "Break something")
        held = self.lanner.sync.sync_now("flows")
        assert held is not None
        self.sync_run = held.id

    def api(self, method: str, path: str, **more: Any) -> Any:
        response = self.client.open(f"/api/v1/main{path}", method=method, **more)
        assert response.status_code < 300, response.get_data(as_text=True)
        return response.get_json(silent=True)

    def pages(self) -> list[str]:
        """Every page that can be read, at least once."""
        good, bad = (f"/ui/executions/company.team/{one['flowId']}/{one['id']}" for one in (self.run, self.failed))
        flow = "/ui/flows/company.team/report"
        return [
            "/ui/flows", "/ui/flows?q=rep", "/ui/flows?q=nothing-like-that", "/ui/flows?in=source&q=script",
            "/ui/flows?label=env:prod&namespace=company", "/ui/flows?page=9", "/ui/flows?label=oops",
            flow, f"{flow}/topology", f"{flow}/topology?open=both", f"{flow}/source", f"{flow}/source?task=say",
            f"{flow}/revisions", f"{flow}/executions", f"{flow}/executions?state=FAILED", f"{flow}/triggers",
            f"{flow}/execute", f"{flow}/execute?from={self.run['id']}", "/ui/flows/company.git/from_git",
            "/ui/flows/company.git/from_git/revisions",
            "/ui/executions", "/ui/executions?state=SUCCESS&since=PT24H&sort=-duration", "/ui/executions?since=never",
            "/ui/executions?label=a:b", "/ui/executions?trigger=nightly", "/ui/triggers", "/ui/triggers?state=disabled",
            good, f"{good}/gantt", f"{good}/logs", f"{good}/logs?level=ERROR", f"{good}/logs?q=script&task=say",
            f"{good}/topology", f"{good}/outputs", bad, f"{bad}/gantt", f"{bad}/logs", f"{bad}/topology",
            f"{bad}/outputs",
            "/ui/sync", "/ui/sync/flows", f"/ui/sync/flows/runs/{self.sync_run}",
        ]  # fmt: skip


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.lanner.stop(drain_s=5)
    made.lanner.close()
