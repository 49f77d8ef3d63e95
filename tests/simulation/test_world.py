"""Seeds of the whole simulated cluster; see `docs/simulation.md`.

Every seed that ever failed is here under the name of what it found. A seed finds the same thing
again only in the code of that day: later changes make another run of it. What keeps a bug away is
the test that its fix came with; the seeds here are just a fixed part of those that run each time.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.world.seeds import attempt
from tests.simulation.world.world import Outcome

pytestmark = pytest.mark.slow

MINUTES = 1.0
FOUND = {
    1: "epoch_without_a_record_kept_a_replica_out_of_sync",
    2: "role_failed_while_the_ensemble_was_away",
    3: "vote_counted_before_it_was_safe",
    5: "entries_counted_before_they_were_safe",
    9: "role_failed_while_the_ensemble_was_away_again",
    10: "role_that_came_during_a_stop_failed_early",
    12: "start_of_a_broker_ended_with_its_session",
    17: "role_that_came_during_a_stop_failed_late",
    19: "new_controller_told_the_old_roles_first",
    20: "registered_anew_beside_a_power_cut",
    22: "role_that_came_during_a_stop_failed_again",
    32: "clean_stop_failed_with_an_expired_session",
    35: "new_controller_told_the_old_roles_first_again",
    43: "role_that_came_during_a_stop_failed",
    45: "clock_that_was_ahead_removed_notices_before_others_read_them",
    74: "session_ended_before_its_creator_heard_of_it",
    80: "session_ended_before_its_creator_heard_of_it_again",
    83: "broker_led_before_it_was_registered",
    92: "isr_change_that_did_not_happen_was_never_asked_for_again",
    101: "failing_disk_ended_a_clean_stop_with_a_stack_trace",
    142: "broker_led_before_it_was_registered_again",
    171: "isr_change_that_did_not_happen_was_never_asked_for_once_more",
    5005: "flush_that_failed_was_never_tried_again",
    5200: "replica_without_room_never_led",
    5302: "controller_was_ended_by_a_broker_that_went_as_it_answered",
    6049: "copies_that_were_compacted_apart_differ_in_bytes",
    6240: "report_of_a_write_was_lost_and_its_session_ended_early",
    7004: "replica_without_room_never_led_again",
    7111: "what_came_and_went_left_no_trace",
    7210: "deleted_records_of_a_broker_that_is_gone",
    10011: "copy_with_an_old_high_watermark_was_compared_too_short",
    10148: "reader_of_an_excused_partition_stayed_beyond_its_end",
    10180: "deleted_log_came_back_with_the_power_and_kept_the_new_topic_out",
    10185: "group_that_began_anew_was_held_to_what_it_had_read",
    10190: "new_directory_was_lost_with_what_had_its_name_before",
    10215: "group_that_began_anew_was_held_to_what_it_had_read_again",
    10269: "reader_of_an_excused_partition_was_out_of_range",
    11208: "slow_link_outlived_the_faults",
    12074: "run_was_ended_by_its_bound",
    20034: "role_in_the_last_turn_of_a_stop_met_a_closed_nursery",
    21044: "notice_of_a_configuration_was_removed_by_a_clock_that_was_ahead",
    30028: "reader_fell_behind_for_good",
    30097: "mended_replica_was_not_told_the_newer_epoch",
    30171: "controller_judged_by_the_state_before_its_own_write",
    31018: "change_of_a_configuration_that_was_given_up_came_later",
    34042: "fetcher_ended_before_its_task_had_begun",
    50158: "replica_that_moved_away_stayed_broken",
    50317: "two_copies_and_no_log_after_a_power_cut",
    50726: "replica_that_moved_away_stayed_broken_again",
    52002: "compaction_was_ahead_of_the_saved_high_watermark",
    60086: "topic_took_the_log_of_one_that_had_its_name",
    61028: "home_of_groups_served_what_its_log_alone_had",
    80212: "log_of_a_member_had_a_hole_behind_a_failed_write",
    80358: "new_log_that_was_asked_for_where_it_was_went_with_the_power",
    80592: "deleted_records_of_a_broker_that_nobody_waits_for",
    90705: "broker_without_a_directory_was_looked_into",
    90968: "full_disk_refused_a_log_that_begins_where_the_leaders_does",
    92009: "assignment_was_handed_out_that_nobody_else_had",
    93006: "log_ended_below_its_start_on_a_full_disk",
    110120: "broker_without_power_came_into_the_isr",
    120370: "checkpoint_found_by_the_start_was_taken_for_synced",
    700629: "who_led_before_refused_what_its_successor_takes",
    700857: "what_a_deleted_topic_had_committed_counted_for_the_next_of_its_name",
    700986: "replica_whose_disk_came_back_was_told_of_no_new_leader",
}
PLAIN = tuple(range(201, 209))


def check(seed: int) -> Outcome:
    _, result, _ = attempt((seed, MINUTES))
    if isinstance(result, str):
        pytest.fail(f"{result}\nreplay: scripts/sim.sh --seed {seed} --minutes {MINUTES:g} --trace")
    return result


@pytest.mark.parametrize("seed", FOUND, ids=FOUND.values())
def test_seed_that_once_failed_holds(seed: int) -> None:
    check(seed)


@pytest.mark.parametrize("seed", PLAIN)
def test_seed_holds(seed: int) -> None:
    outcome = check(seed)
    assert outcome.counts["records acknowledged"] > 0
    assert outcome.counts["acknowledged records found"] > 0


def test_one_seed_is_one_run_in_every_process() -> None:
    """The order of sets and dicts of strings differs between processes; nothing depends on it."""
    code = (
        "from tests.simulation.world.world import run_seed\n"
        "print(run_seed(3, minutes=0.6).digest)\n"
    )
    root = Path(__file__).parents[2]
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1
