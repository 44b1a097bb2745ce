//! `oneshift up` itself, killed or stopped at every point, and started again at once on the same
//! folders.

use crate::aftermath::{AGAIN, GONE, STOPPED, STOPPED_UNDELIVERED, UNTOUCHED};
use crate::cell::cells;

cells! {
    supervisor_killed_before_accept: Supervisor Killed BeforeAccept => UNTOUCHED;
    supervisor_killed_while_queued: Supervisor Killed Queued => UNTOUCHED;
    supervisor_killed_while_pulling: Supervisor Killed Pulling => AGAIN;
    supervisor_killed_while_the_agent_runs: Supervisor Killed AgentRuns => GONE;
    supervisor_killed_while_the_check_runs: Supervisor Killed CheckRuns => GONE;
    supervisor_killed_after_the_last_line: Supervisor Killed LastLine => GONE;
    supervisor_killed_while_delivering: Supervisor Killed Delivering => GONE;
    supervisor_killed_before_the_end_is_read: Supervisor Killed Unread => UNTOUCHED;

    supervisor_stopped_before_accept: Supervisor Terminated BeforeAccept => UNTOUCHED;
    supervisor_stopped_while_queued: Supervisor Terminated Queued => UNTOUCHED;
    supervisor_stopped_while_pulling: Supervisor Terminated Pulling => AGAIN;
    supervisor_stopped_while_the_agent_runs: Supervisor Terminated AgentRuns => STOPPED;
    supervisor_stopped_while_the_check_runs: Supervisor Terminated CheckRuns => STOPPED;
    supervisor_stopped_after_the_last_line: Supervisor Terminated LastLine => STOPPED;
    supervisor_stopped_while_delivering: Supervisor Terminated Delivering => STOPPED_UNDELIVERED;
    supervisor_stopped_before_the_end_is_read: Supervisor Terminated Unread => UNTOUCHED;

    supervisor_drained_while_queued: Supervisor Drained Queued => UNTOUCHED;
    supervisor_drained_while_pulling: Supervisor Drained Pulling => UNTOUCHED;
    supervisor_drained_while_the_agent_runs: Supervisor Drained AgentRuns => UNTOUCHED;
    supervisor_drained_while_the_check_runs: Supervisor Drained CheckRuns => UNTOUCHED;
    supervisor_drained_after_the_last_line: Supervisor Drained LastLine => UNTOUCHED;
    supervisor_drained_while_delivering: Supervisor Drained Delivering => UNTOUCHED;
}
