//! `kill -9` of one service, at every point.

use crate::aftermath::{LOST, READ_OR_LOST, UNTOUCHED};
use crate::cell::cells;

cells! {
    workflow_killed_before_accept: Workflow Killed BeforeAccept => UNTOUCHED;
    workflow_killed_while_queued: Workflow Killed Queued => UNTOUCHED;
    workflow_killed_while_the_check_runs: Workflow Killed CheckRuns => LOST;
    workflow_killed_after_the_last_line: Workflow Killed LastLine => LOST;
    workflow_killed_while_delivering: Workflow Killed Delivering => LOST;
    workflow_killed_before_the_end_is_stored: Workflow Killed Unstored => READ_OR_LOST;

    git_pull_killed_before_accept: GitPull Killed BeforeAccept => UNTOUCHED;
    git_pull_killed_while_queued: GitPull Killed Queued => UNTOUCHED;
    git_pull_killed_while_the_agent_runs: GitPull Killed AgentRuns => UNTOUCHED;
    git_pull_killed_while_the_check_runs: GitPull Killed CheckRuns => UNTOUCHED;
    git_pull_killed_after_the_last_line: GitPull Killed LastLine => UNTOUCHED;
    git_pull_killed_while_delivering: GitPull Killed Delivering => UNTOUCHED;
    git_pull_killed_before_the_end_is_stored: GitPull Killed Unstored => UNTOUCHED;

    claude_exec_killed_before_accept: ClaudeExec Killed BeforeAccept => UNTOUCHED;
    claude_exec_killed_while_queued: ClaudeExec Killed Queued => UNTOUCHED;
    claude_exec_killed_while_pulling: ClaudeExec Killed Pulling => UNTOUCHED;
    claude_exec_killed_while_the_check_runs: ClaudeExec Killed CheckRuns => LOST;
    claude_exec_killed_after_the_last_line: ClaudeExec Killed LastLine => LOST;
    claude_exec_killed_while_delivering: ClaudeExec Killed Delivering => UNTOUCHED;
    claude_exec_killed_before_the_end_is_stored: ClaudeExec Killed Unstored => UNTOUCHED;

    gateway_killed_before_accept: Gateway Killed BeforeAccept => UNTOUCHED;
    gateway_killed_while_queued: Gateway Killed Queued => UNTOUCHED;
    gateway_killed_while_pulling: Gateway Killed Pulling => UNTOUCHED;
    gateway_killed_while_the_check_runs: Gateway Killed CheckRuns => UNTOUCHED;
    gateway_killed_after_the_last_line: Gateway Killed LastLine => UNTOUCHED;
    gateway_killed_while_delivering: Gateway Killed Delivering => UNTOUCHED;
    gateway_killed_before_the_end_is_stored: Gateway Killed Unstored => UNTOUCHED;
    gateway_killed_before_the_end_is_read: Gateway Killed Unread => UNTOUCHED;
}
