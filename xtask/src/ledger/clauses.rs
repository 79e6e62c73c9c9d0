//! What no command table has: clauses of the iSCSI protocol and of the SCSI architecture, where they are carried out, and the tests that show it.

/// One clause, or one requirement of it.
pub struct Clause {
    /// Number, and what is asked there.
    pub number: &'static str,
    pub what: &'static str,
    /// `FILE:SYMBOL` below `crates`.
    pub code: &'static [&'static str],
    /// Functions of the tree. None: a hole.
    pub tests: &'static [&'static str],
    /// Tests of libiscsi's suite, `Suite.Test`, that are about it.
    pub suite: &'static [&'static str],
}

const fn row(
    number: &'static str,
    what: &'static str,
    code: &'static [&'static str],
    tests: &'static [&'static str],
    suite: &'static [&'static str],
) -> Clause {
    Clause { number, what, code, tests, suite }
}

/// RFC 7143, and RFC 7144 where it says so.
#[rustfmt::skip]
pub const ISCSI: &[Clause] = &[
    row("4.2.2.1", "commands run in the order of CmdSN whatever order they arrive in", &["iscsi/src/target/window.rs:take_next"], &["commands_run_in_order_and_the_window_is_kept", "any_order_of_arrival_is_delivered_in_order"], &[]),
    row("4.2.2.1", "CmdSN outside of the window is ignored", &["iscsi/src/target/window.rs:judge"], &["commands_run_in_order_and_the_window_is_kept", "the_window_wraps_and_closes"], &["iSCSIcmdsn.iSCSICmdSnTooHigh", "iSCSIcmdsn.iSCSICmdSnTooLow"]),
    row("4.2.2.1", "immediate commands pass the window, and are bounded", &["iscsi/src/target/command.rs:count_task"], &["immediate_commands_pass_the_window_up_to_a_limit"], &[]),
    row("4.2.2.2", "StatSN counts responses of the connection", &["iscsi/src/target/reply.rs:queue_reply"], &["a_read_is_cut_and_its_status_collapsed", "any_parameters_carry_any_length"], &[]),
    row("4.2.2.3.3", "responses of a task management function come after those of its commands", &["iscsi/src/target/management.rs:push_function_response"], &["no_answer_comes_after_that_of_the_function"], &[]),
    row("4.2.2.4", "DataSN counts without gaps; a wrong one ends the task", &["iscsi/src/target/transfer.rs:check"], &["data_outside_of_an_r2t_end_the_task", "lies_about_ranges_are_seen"], &["iSCSIdatasn.iSCSIDataSnInvalid"]),
    row("4.2.5.2", "a read's data stay within EDTL, MaxBurstLength and MaxRecvDataSegmentLength", &["iscsi/src/target/reply.rs:next_of_reply"], &["a_read_is_cut_and_its_status_collapsed", "any_parameters_carry_any_length"], &[]),
    row("4.2.7.1", "names are compared whole; illegal ones are refused", &["iscsi/src/login.rs:identify"], &["refusals_have_their_status", "only_initiators_with_legal_names_are_let_in"], &[]),
    row("6.1", "key=value pairs may be cut anywhere; what is none is refused", &["iscsi/src/text.rs:add"], &["pairs_may_be_cut_anywhere", "what_is_not_a_pair_is_refused", "text_corpus_holds"], &[]),
    row("6.2", "a key is negotiated once, by its result function; unknown ones are NotUnderstood", &["iscsi/src/key.rs:receive"], &["every_key_has_its_result_function", "a_key_is_negotiated_once", "configured_wishes_change_results"], &[]),
    row("6.2", "a long sequence of pairs goes over several PDUs (C bit)", &["iscsi/src/login.rs:next_response", "iscsi/src/target/text.rs:continue_answer"], &["text_goes_over_several_requests", "a_long_answer_is_cut_and_fetched", "questions_over_several_requests"], &[]),
    row("6.3.1", "stages go forward only, at the initiator's wish", &["iscsi/src/login.rs:decide_transit"], &["security_then_operational", "security_straight_to_full_feature", "slow_talkers_may_stay_in_a_stage"], &[]),
    row("6.3.2", "nobody passes the security stage without what the target demands", &["iscsi/src/login.rs:must_authenticate"], &["accounts_cannot_be_passed_by", "chap_both_ways"], &[]),
    row("6.3.5", "a second login of one initiator port ends the first session", &["transport/src/hub.rs:displace"], &["a_second_login_of_one_port_ends_the_first"], &[]),
    row("6.3.6", "a login that does not end is cut", &["iscsi/src/target/connection.rs:handle_timeout"], &["endless_logins_end", "a_login_that_never_comes_is_cut"], &[]),
    row("7.3", "Reject carries the header that was rejected", &["iscsi/src/target/connection.rs:reject"], &["what_does_not_belong_here_is_rejected", "broken_commands_are_rejected"], &[]),
    row("7.5", "a peer that does not answer pings is given up", &["iscsi/src/target/management.rs:ping"], &["silent_initiators_are_dropped", "a_peer_that_does_not_answer_pings_is_cut"], &[]),
    row("7.6", "a connection that ends takes its tasks along", &["target/src/unit.rs:detach"], &["a_dropped_connection_takes_its_task_along", "detaching_ends_the_tasks_quietly"], &[]),
    row("7.7", "format errors of a PDU end the connection", &["iscsi/src/target/connection.rs:handle_broken_stream"], &["noise_is_answered_by_closing", "random_bytes_never_hurt", "pdu_corpus_holds"], &[]),
    row("7.8", "header digest error ends the connection; data digest error is rejected and ends the task", &["iscsi/src/target/connection.rs:data_digest_failed", "iscsi/src/framing.rs:finish"], &["digests_protect_and_end_the_session", "wrong_digests_and_lengths_are_told"], &[]),
    row("9.2.1", "CHAP: own challenges never repeat, reflected ones are refused, wrong names and secrets fail alike", &["iscsi/src/auth.rs:check_response"], &["challenges_never_repeat", "a_reflected_challenge_is_refused", "wrong_names_secrets_and_lengths_fail_alike"], &["iSCSICHAP.Simple"]),
    row("11.2.2", "AHS: extended CDB and bidirectional length; lies are refused", &["iscsi/src/pdu/ahs.rs:decode"], &["both_segments_round_trip", "lies_are_refused", "long_and_bidirectional_commands_are_parsed"], &[]),
    row("11.2.3", "CRC32C of header and data, whatever the cut", &["iscsi/src/digest.rs:crc32c", "transport/src/digest.rs:crc32c"], &["known_vectors", "vectors_of_the_standard", "any_cut_gives_the_same_digest"], &[]),
    row("11.3", "flags and fields of SCSI Command that contradict each other are rejected", &["iscsi/src/target/command.rs:judge_data"], &["broken_commands_are_rejected", "a_tag_in_use_is_rejected_and_its_number_stays_open"], &[]),
    row("11.3", "immediate and unsolicited data within FirstBurstLength", &["iscsi/src/target/transfer.rs:check"], &["immediate_unsolicited_and_solicited_data_make_one_write", "unsolicited_data_stay_within_the_first_burst", "unsolicited_data_without_leave_are_awaited_and_refused"], &[]),
    row("11.4", "status, sense and residuals of SCSI Response", &["iscsi/src/target/reply.rs:fill_response"], &["check_condition_carries_sense_and_residual", "overflow_is_cut_and_told", "a_short_fetch_leaves_the_rest_as_residual"], &["iSCSIResiduals.Read10Residuals", "iSCSIResiduals.Write10Residuals", "iSCSIResiduals.Read10Invalid"]),
    row("11.5", "every function code is carried out or answered", &["iscsi/src/target/management.rs:task_management"], &["every_function_code_is_answered_or_delivered", "task_management_is_answered_with_its_codes"], &["iSCSITMF.AbortTaskSimpleAsync", "iSCSITMF.LUNResetSimpleAsync"]),
    row("11.5", "ABORT TASK of a command that never came counts as done, and its number is used up", &["iscsi/src/target/window.rs:lose"], &["a_command_that_never_came_counts_as_aborted", "an_aborted_command_leaves_nothing_in_the_window"], &[]),
    row("11.6.1", "responses of the functions", &["transport/src/iscsi_tcp/functions.rs:code_of"], &["task_management_is_answered_with_its_codes"], &[]),
    row("11.7", "Data-Out fits its R2T in offset, length and order", &["iscsi/src/target/data_out.rs:data_out_header"], &["data_outside_of_an_r2t_end_the_task", "data_for_nobody_are_rejected_and_the_session_lives", "every_byte_comes_exactly_once"], &[]),
    row("11.8", "R2T within MaxBurstLength and MaxOutstandingR2T", &["iscsi/src/target/transfer.rs:next_request"], &["immediate_unsolicited_and_solicited_data_make_one_write", "a_long_write_over_default_parameters"], &[]),
    row("11.9", "Asynchronous Message: logout request, drop of a connection or session", &["iscsi/src/target/management.rs:push_async"], &["the_target_speaks_up"], &[]),
    row("11.10", "Text Request in a session of either kind", &["iscsi/src/target/text.rs:text_request"], &["a_normal_session_asks_about_its_own_target", "a_question_in_the_middle_of_an_answer_is_refused", "discovery_lists_every_portal"], &["iSCSISendTargets.Simple"]),
    row("11.11", "Text Response in several PDUs, with a target transfer tag", &["iscsi/src/target/text.rs:text_response"], &["long_answers_go_on", "a_long_discovery_answer_arrives_whole"], &[]),
    row("11.12", "Login Request: version, stages, identity stay as they were", &["iscsi/src/login.rs:check_header"], &["other_versions_and_changed_identities_are_refused"], &[]),
    row("11.13.5", "status classes and details of Login Response", &["iscsi/src/login.rs:refusal"], &["refusals_have_their_status", "every_answer_about_a_target_has_its_status", "limits_refuse_with_a_reason"], &[]),
    row("11.13.5", "redirection tells the address", &["iscsi/src/login.rs:answer_lookup"], &["a_moved_target_is_told_with_its_address", "an_address_sends_logins_away_for_a_while_or_for_ever"], &[]),
    row("11.14", "logout of session, connection and another connection; recovery is not there", &["iscsi/src/target/logout.rs:logout"], &["logout_has_three_reasons", "a_connection_logs_out_with_its_own_tasks", "another_connection_is_logged_out_by_its_number", "logouts_end_one_connection_or_all"], &[]),
    row("11.14", "a logout waits for the commands before it and ends them", &["iscsi/src/target/logout.rs:end_tasks_before_logout"], &["a_logout_waits_for_the_commands_that_run", "what_waits_behind_a_logout_is_not_carried_out", "a_logout_ends_what_runs_before_it_is_answered"], &[]),
    row("11.16", "SNACK: refused at error recovery level 0, answered at 1", &["iscsi/src/target/snack.rs:snack"], &["what_does_not_belong_here_is_rejected", "data_and_status_are_sent_again_as_they_were", "what_was_not_sent_cannot_be_sent_again"], &[]),
    row("11.18", "NOP-Out with a tag is echoed, bounded by MaxRecvDataSegmentLength", &["iscsi/src/target/management.rs:nop_out"], &["pings_are_echoed_within_bounds"], &[]),
    row("11.19", "NOP-In asks for an echo", &["iscsi/src/target/management.rs:ping"], &["silent_initiators_are_dropped"], &[]),
    row("12.1", "AuthMethod is the first of the initiator's list that will do", &["iscsi/src/login.rs:choose_method"], &["accounts_cannot_be_passed_by", "refusals_have_their_status"], &[]),
    row("12.1.3", "CHAP with MD5, SHA-1, SHA-256, SHA3-256, one way or both", &["iscsi/src/auth.rs:step"], &["every_algorithm_proves_both_sides_in_both_encodings", "chap_both_ways_with_every_algorithm", "responses_are_the_digests_of_the_registry"], &["iSCSICHAP.Base64", "iSCSICHAP.Invalid"]),
    row("13", "every key has its default, range and result", &["iscsi/src/key.rs:result"], &["every_key_has_its_result_function", "the_target_offers_what_it_wants_to_change", "an_initiator_that_ignores_offers_gets_the_defaults"], &[]),
    row("13.2, 13.20", "MaxConnections and ErrorRecoveryLevel are agreed on as the lower one", &["iscsi/src/key.rs:result"], &["every_key_has_its_result_function"], &[]),
    row("13.3", "SendTargets=All in discovery, own name in a session", &["iscsi/src/target/text.rs:send_targets"], &["discovery_lists_every_portal", "a_normal_session_asks_about_its_own_target", "discovery_lists_the_target_and_its_portal"], &["iSCSISendTargets.Invalid"]),
    row("13.21", "a discovery session takes no commands", &["iscsi/src/target/command.rs:is_discovery"], &["discovery_sessions_take_nothing_else", "discovery_makes_session_keys_irrelevant"], &[]),
    row("7144 4.1", "functions of protocol level 2 want it negotiated", &["iscsi/src/target/management.rs:task_management"], &["functions_of_the_second_protocol_level_want_it_negotiated"], &[]),
    row("4.2.2.1", "commands of all connections of a session are delivered in one order", &["iscsi/src/target/session.rs:release"], &["commands_of_all_connections_are_delivered_in_one_order", "connections_share_one_session_wherever_they_arrive"], &[]),
    row("4.2.5.1", "data and answers take the connection of their command", &["iscsi/src/target/data_out.rs:data_out_header"], &["data_belong_to_the_connection_of_their_command"], &[]),
    row("4.2.3.2", "a function waits for commands on other connections, its answer for theirs", &["iscsi/src/target/management.rs:ask_for_fence"], &["a_function_waits_for_commands_that_other_connections_still_bring", "the_answer_of_a_function_comes_after_those_before_it_have_arrived", "a_function_on_one_connection_ends_tasks_of_all"], &[]),
    row("6.3.4", "a connection takes the place of that with its number, and the session goes on", &["transport/src/iscsi_tcp/login.rs:join"], &["a_connection_takes_the_place_of_that_with_its_number"], &[]),
    row("7.1.4.4", "a lost connection takes its tasks along and nothing else", &["iscsi/src/target/session.rs:end"], &["a_lost_connection_leaves_the_rest_whole", "a_lost_connection_takes_only_its_tasks_along"], &[]),
    row("13.2", "a session has no more connections than were agreed", &["transport/src/session.rs:join"], &["a_session_has_no_more_connections_than_were_agreed"], &[]),
    row("7.2", "error recovery level 1: answers, data and requests for data again", &["iscsi/src/target/snack.rs:snack", "iscsi/src/target/recovery.rs:ask_again"], &["data_and_status_are_sent_again_as_they_were", "damaged_and_lost_data_are_asked_for_again", "commands_are_tried_again", "who_acknowledges_nothing_is_slowed_down_and_cut"], &[]),
    row("7.2", "error recovery level 2: connection reassignment, TASK REASSIGN", &[], &[], &[]),
];

/// SAM-5: tasks and their management.
#[rustfmt::skip]
pub const ARCHITECTURE: &[Clause] = &[
    row("4.6", "LUNs in peripheral, flat and extended addressing", &["scsi/src/types.rs:number"], &["unit_numbers", "unit_numbers_come_back", "any_lun_is_answered"], &[]),
    row("4.7", "a LUN without a unit", &["target/src/primary.rs:absent"], &["no_unit_answers_by_lun_zero"], &[]),
    row("5.3.1", "TASK SET FULL when there are too many", &["target/src/unit.rs:handle_command"], &["a_full_task_set_says_so"], &[]),
    row("5.9", "auto contingent allegiance (NACA)", &["target/src/contingent.rs:admission_under_aca"], &["an_allegiance_stops_everybody_but_aca_commands", "an_aca_command_that_fails_ends_the_allegiance_or_begins_another", "what_ends_an_allegiance"], &[]),
    row("5.9", "QErr: what else ends with a CHECK CONDITION", &["target/src/contingent.rs:carry_out_queue_error"], &["queue_errors_end_what_the_page_says", "queue_errors_and_an_allegiance_together"], &[]),
    row("5.14", "unit attentions in order, once, for the right nexuses", &["target/src/attention.rs:establish"], &["conditions_come_in_order_and_once", "a_reset_replaces_what_waited", "power_on_is_told_once_and_inquiry_passes_it"], &[]),
    row("5.14", "INQUIRY, REPORT LUNS and REQUEST SENSE pass a unit attention", &["target/src/unit.rs:report_attention"], &["power_on_is_told_once_and_inquiry_passes_it", "report_luns_clears_its_own_attention_only"], &[]),
    row("5.14", "UA_INTLCK: interlocked attentions", &["target/src/contingent.rs:interlock"], &["interlocked_attentions_stay_until_request_sense"], &[]),
    row("7.1", "loss of the nexus ends its tasks, RESERVE and PREVENT", &["target/src/unit.rs:detach"], &["detaching_ends_the_tasks_quietly", "reserve_six_ends_with_its_session_and_with_a_reset", "prevention_of_removal_goes_with_its_nexus"], &["Reserve6.ITNexusLoss", "PreventAllow.ITNexusLoss"]),
    row("7.2", "ABORT TASK waits for the store", &["target/src/management.rs:await_end"], &["abort_task_waits_for_the_store"], &["iSCSITMF.AbortTaskSimpleAsync"]),
    row("7.3", "ABORT TASK SET ends the tasks of one nexus", &["target/src/management.rs:abort_all"], &["abort_task_set_is_about_one_nexus"], &[]),
    row("7.4", "CLEAR ACA", &["target/src/contingent.rs:clear_contingent"], &["clear_aca_ends_the_aca_command"], &[]),
    row("7.5", "CLEAR TASK SET, with and without TAS", &["target/src/management.rs:clear_task_set"], &["clear_task_set_with_and_without_task_aborted_status"], &[]),
    row("7.6", "I_T NEXUS RESET", &["target/src/management.rs:manage"], &["every_function_at_every_stage", "queries_and_small_functions"], &[]),
    row("7.7", "LOGICAL UNIT RESET", &["target/src/management.rs:reset_unit"], &["logical_unit_reset"], &["Reserve6.LUNReset", "PreventAllow.LUNReset", "MultipathIO.Reset"]),
    row("7.8, 7.9, 7.10", "QUERY TASK, QUERY TASK SET, QUERY ASYNCHRONOUS EVENT", &["target/src/management.rs:existence"], &["queries_and_small_functions"], &[]),
    row("7", "TARGET WARM RESET and TARGET COLD RESET", &["transport/src/iscsi_tcp/functions.rs:begin_function"], &["task_management_is_answered_with_its_codes"], &["Reserve6.TargetColdReset", "Reserve6.TargetWarmReset", "PreventAllow.WarmReset"]),
    row("7", "a function ends in bounded time although the store does not answer", &["target/src/management.rs:give_up"], &["a_stuck_store_costs_the_function_and_then_the_medium"], &[]),
    row("7", "any function at any stage of a command", &["target/src/management.rs:manage"], &["every_function_at_every_stage", "every_command_ends_once_and_in_order"], &[]),
    row("8.3", "order of SIMPLE, ORDERED and HEAD OF QUEUE", &["target/src/task_set.rs:next_startable"], &["order_of_tasks", "simple_tasks_start_at_once", "an_ordered_task_waits_for_the_older_and_stops_the_younger", "head_of_queue_starts_at_once_and_holds_back_the_rest"], &[]),
    row("8.3", "one task set for all nexuses, or one each (TST)", &["target/src/task_set.rs:lane"], &["with_a_task_set_for_each_nexus_others_are_left_alone", "lanes_know_nothing_of_each_other"], &[]),
    row("8.6", "ACA task attribute", &["target/src/contingent.rs:passes"], &["an_allegiance_stops_everybody_but_aca_commands"], &[]),
    row("8.9", "QUEUE ALGORITHM MODIFIER, command priority", &[], &[], &[]),
];

/// What the suite of a later libiscsi asks and the one of the distribution does not have, by the names of that suite.
#[rustfmt::skip]
pub const LATER_SUITE: &[Clause] = &[
    row("ExtendedCopy.Large", "segments as long as the limits of the target let them be", &["target/src/copy/mod.rs:begin_copy"], &["blocks_go_to_another_disk_and_back", "overlapping_blocks_arrive_whole", "limits_are_kept_exactly"], &[]),
    row("ReportTargetPortGroups", "header formats, allocation lengths, states", &["target/src/port_groups.rs:report_target_port_groups"], &["bytes_of_the_report", "inquiry_tells_what_there_is"], &[]),
    row("CompareAndWrite.MiscompareSense", "MISCOMPARE with the offset of the first byte that differs", &["device/src/disk/compare_and_write.rs:CompareAndWrite"], &["a_miscompare_writes_nothing_and_tells_where"], &[]),
    row("Inquiry.SupportedVPD", "pages in ascending order, each of them there", &["device/src/primary/vpd.rs:page"], &["supported_pages", "every_listed_page_is_there_and_names_itself"], &[]),
    row("iSCSISendTargets", "SendTargets in a normal session; names that are not there", &["iscsi/src/target/text.rs:send_targets"], &["a_session_of_a_target_lists_it_and_nothing_else", "a_normal_session_asks_about_its_own_target"], &[]),
    row("iSCSINop", "pings of every length, among commands", &["iscsi/src/target/management.rs:nop_out"], &["pings_of_any_length_come_back_among_commands", "pings_are_echoed_within_bounds"], &[]),
    row("iSCSICHAP", "hexadecimal and base64, names and secrets that are wrong, values that are too long", &["iscsi/src/auth.rs:decode_binary"], &["every_algorithm_proves_both_sides_in_both_encodings", "wrong_names_secrets_and_lengths_fail_alike", "chap_both_ways_with_every_algorithm"], &[]),
    row("iSCSICmdSnTooLow", "a CmdSN of the past is ignored, and so is one far ahead", &["iscsi/src/target/window.rs:judge"], &["command_numbers_outside_of_the_window_are_ignored_without_end"], &[]),
    row("Logout during I/O", "commands that run are ended before the answer", &["iscsi/src/target/logout.rs:end_tasks_before_logout"], &["a_logout_ends_what_runs_before_it_is_answered", "a_logout_waits_for_the_commands_that_run"], &[]),
];
