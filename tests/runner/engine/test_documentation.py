"""The page about states says what the engine does."""

from __future__ import annotations

from runner.engine.states import TERMINAL, State
from runner.engine.transitions import EXECUTION, TASK_RUN
from tests.runner.engine.state_machine import PAGE, render


def test_the_page_about_states_is_made_from_the_transition_tables():
    assert PAGE.read_text() == render(), "run: python -m tests.runner.engine.state_machine"


def test_every_state_that_is_not_terminal_has_a_way_out():
    for table in (EXECUTION, TASK_RUN):
        for start, ends in table.items():
            assert start in TERMINAL or ends


def test_terminal_states_are_left_by_people_only():
    for start in TERMINAL - {State.SKIPPED}:
        assert set(EXECUTION[start]) == {State.RESTARTED}
