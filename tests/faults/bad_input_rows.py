"""Where each row of the bad inputs (``reliability.md`` 4.4) is tested: from the outside wherever it can be.

``file::test`` or ``file::test[case]``: the case stands in that file as written here, without what makes it unique.
"""

from __future__ import annotations

BAD = "tests/faults/test_bad_inputs.py"
MORE = "tests/faults/test_more_bad_inputs.py"
OVERLOAD = "tests/faults/test_overload.py"
SAVED = f"{BAD}::test_a_flow_that_is_wrong_is_422_and_says_why"
ODD = f"{BAD}::test_a_flow_that_is_only_odd_is_taken"
RENDERED = f"{BAD}::test_a_bad_expression_fails_its_task_and_nothing_else"
ENDLESS = f"{BAD}::test_an_expression_without_an_end_is_ended"
LITERAL = f"{BAD}::test_text_from_outside_is_never_a_template"
CRON = f"{BAD}::test_a_bad_cron_is_422"
NOTED = f"{MORE}::test_an_odd_cron_is_taken_with_a_word_about_it"
SLOT = f"{MORE}::test_the_next_slot_is_the_one_that_kestra_means"
GIVEN = f"{BAD}::test_a_bad_input_is_422_and_starts_nothing"
GIVEN_TOO = f"{MORE}::test_another_bad_input_is_422_and_starts_nothing"
REFUSED_START = "tests/service/test_processes.py::test_a_start_that_cannot_work_is_refused"
TREES = "tests/sync/test_nasty_trees.py"
CRONS = "tests/namespaces/test_cron.py"
RENDERER = "tests/runner/test_renderer.py"
SCRIPTS = "tests/runner/worker/test_scripts.py"

ROWS: dict[str, tuple[str, ...]] = {
    **{f"A{n}": (f"{SAVED}[A{n} ",) for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 16, 18, 19, 20, 23, 24)},
    "A10": (f"{ODD}[A10 ", f"{TREES}::test_an_impossible_number_or_date_is_refused_where_one_is_wanted"),
    "A11": (f"{ODD}[A11 ",),
    "A12": (f"{BAD}::test_scalars_stay_the_text_they_were_written_as",),
    "A15": (f"{ODD}[A15 ", f"{TREES}::test_a_byte_order_mark_is_accepted_with_a_warning"),
    "A17": (f"{SAVED}[A17 ", f"{MORE}::test_too_many_tasks_are_refused_naming_the_limit"),
    "A21": ("tests/sync/test_holding.py::test_a_file_for_a_foreign_namespace_is_refused_and_audited",),
    "A22": (f"{SAVED}[A22 ", f"{MORE}::test_a_circle_of_subflows_ends_at_the_depth_limit"),
    "A25": (f"{ODD}[A25 ",),
    **{f"B{n}": (f"{RENDERED}[B{n} ",) for n in (1, 2, 3, 5, 6, 9, 10, 11, 17, 18)},
    "B4": (f"{RENDERED}[B4 ", f"{MORE}::test_a_bad_expression_is_a_warning_at_save"),
    "B7": (f"{RENDERED}[B7 ", f"{ENDLESS}[B7 "),
    "B8": (f"{RENDERED}[B8 ", f"{ENDLESS}[B8 "),
    "B12": (LITERAL, f"{BAD}::test_text_from_outside_put_through_render_gets_no_secret"),
    "B13": (LITERAL,),
    "B14": (f"{RENDERED}[B14 ", f"{MORE}::test_no_variable_of_the_server_is_shown"),
    "B15": (f"{RENDERED}[B15 ", f"{MORE}::test_a_bad_expression_is_a_warning_at_save"),
    "B16": (
        f"{ENDLESS}[B16 ",
        f"{RENDERER}::test_a_hanging_pattern_is_killed_and_the_next_rendering_works",
    ),
    **{f"C{n}": (CRON,) for n in (1, 7, 10, 11, 13)},
    "C2": (SLOT,),
    "C3": (NOTED,),
    "C4": (SLOT,),
    "C5": (NOTED,),
    "C6": (NOTED,),
    "C8": (CRON, f"{MORE}::test_a_range_that_goes_backwards_is_refused"),
    "C9": (SLOT,),
    "C12": (CRON, SLOT),
    "C14": (
        f"{BAD}::test_zones",
        f"{CRONS}::test_an_unknown_zone_is_refused_with_the_nearest_name",
    ),
    "C15": (f"{MORE}::test_an_every_second_schedule_without_a_limit_is_taken_with_a_warning",),
    "D1": (f"{GIVEN}[D1 ", f"{MORE}::test_an_odd_input_is_taken[D1 ", f"{MORE}::test_every_bad_input_is_told_at_once"),
    "D2": (f"{GIVEN}[D2 ", f"{GIVEN_TOO}[D2 ", f"{MORE}::test_an_odd_input_is_taken[D2 "),
    "D3": (f"{GIVEN}[D3 ", f"{BAD}::test_a_catastrophic_pattern_of_a_validator_is_refused_or_harmless"),
    "D4": (f"{GIVEN}[D4 ", f"{GIVEN_TOO}[D4 "),
    "D5": (f"{GIVEN}[D5 ", f"{BAD}::test_ten_thousand_inputs_are_answered", f"{BAD}::test_an_input_may_have_any_name"),
    "D6": (f"{GIVEN}[D6 ", f"{GIVEN_TOO}[D6 "),
    "D7": (f"{MORE}::test_hostile_text_is_stored_as_it_is_and_shown_inert",),
    "F1": (
        f"{BAD}::test_wrong_keys_and_flows_look_alike",
        f"{MORE}::test_who_has_the_key_of_a_disabled_flow_is_told_with_409_and_a_stranger_with_404",
        f"{OVERLOAD}::test_the_time_of_a_refusal_tells_nothing_of_the_key",
    ),
    "F2": (
        f"{MORE}::test_a_signature_that_is_missing_wrong_or_of_another_body_is_401",
        f"{MORE}::test_an_empty_secret_of_a_signature_is_refused_at_save",
    ),
    "F3": (f"{MORE}::test_a_timestamp_that_is_off_is_401", f"{MORE}::test_a_timestamp_that_is_text_is_401"),
    "F4": (
        f"{BAD}::test_a_hundred_equal_deliveries_at_once_are_one_execution",
        "tests/faults/test_chaos.py::test_a_thousand_acknowledged_triggers_survive_ten_kills",
        "tests/runner/triggers/test_webhooks.py::test_a_delivery_is_remembered_for_a_week_and_starts_anew_after_it",
    ),
    "F5": (f"{BAD}::test_a_hundred_equal_deliveries_at_once_are_one_execution",),
    "F6": (f"{BAD}::test_webhook_bodies_of_every_kind",),
    "F7": (f"{BAD}::test_webhook_methods",),
    "F8": (f"{OVERLOAD}::test_ten_thousand_webhooks_in_ten_seconds_are_taken_or_refused_and_none_is_lost",),
    "F9": (LITERAL,),
    "F10": (f"{BAD}::test_a_webhook_whose_condition_raises_is_204",),
    "G1": (
        "tests/sync/test_config.py::test_an_address_that_could_be_something_else_is_refused_at_load",
        "tests/sync/test_config.py::test_no_process_is_started_for_an_evil_address",
    ),
    "G2": ("tests/sync/test_config.py::test_an_address_that_could_be_something_else_is_refused_at_load",),
    "G3": ("tests/sync/test_config.py::test_a_ref_that_git_could_misread_is_refused_at_load",),
    "G4": (f"{TREES}::test_symbolic_links_and_submodules_are_reported_and_never_followed",),
    "G5": (f"{TREES}::test_hooks_and_filters_of_the_remote_are_never_run",),
    "G6": (f"{TREES}::test_paths_that_are_one_elsewhere_are_an_error_at_both",),
    "G7": (
        f"{TREES}::test_a_flow_over_the_limit_is_refused_before_it_is_read",
        f"{TREES}::test_a_tree_over_the_limits_is_an_error_of_the_source",
    ),
    "G8": ("tests/sync/test_guards.py::test_a_force_push_is_applied_flagged_and_audited",),
    "G9": ("tests/namespaces/test_archives.py::test_names_that_leave_or_mean_a_device_are_refused",),
    "G11": ("tests/namespaces/test_files.py::test_paths_that_mean_another_place_somewhere_are_refused",),
    "G12": (
        f"{SCRIPTS}::test_an_output_that_is_a_link_to_the_outside_or_no_file_fails_the_task",
        f"{SCRIPTS}::test_a_sparse_output_beyond_the_limit_fails",
    ),
    "H1": (
        "tests/service/cli/test_settings.py::test_a_mistake_is_one_sentence_with_its_line",
        "tests/service/cli/test_commands.py::test_a_wrong_configuration_is_exit_code_78_for_servers_and_2_elsewhere",
    ),
    "H2": (
        "tests/service/test_processes.py::test_a_port_in_use_is_one_sentence",
        "tests/service/test_processes.py::test_a_second_server_on_the_same_data_is_refused",
        "tests/service/test_datafolder.py::test_a_file_in_place_of_the_folder_is_refused",
    ),
    "H3": ("tests/service/test_processes.py::test_a_key_file_that_is_none_or_open_to_others_refuses_the_start",),
    "H4": (
        "tests/service/cli/test_commands.py::test_an_at_sign_in_an_option_is_taken_literally",
        "tests/service/cli/test_settings.py::test_references_elsewhere_are_text",
    ),
    "H5": (REFUSED_START,),
    "H6": ("tests/service/test_migrations.py::test_a_database_of_a_newer_release_is_refused",),
    "H7": (
        "tests/service/test_processes.py::test_a_hang_up_reads_the_sources_again",
        "tests/service/cli/test_commands.py::test_a_closed_pipe_is_no_error",
    ),
    "H8": ("tests/service/cli/test_against_server.py::test_names_with_control_characters_do_not_reach_the_terminal",),
}

ABSENT = {"G10": "nothing reads tar archives"}
COUNTS = {"A": 25, "B": 18, "C": 15, "D": 7, "F": 10, "G": 12, "H": 8}
"""Rows of each group; E, the API itself, is in ``tests/service/api`` and ``test_bad_inputs.py``."""
