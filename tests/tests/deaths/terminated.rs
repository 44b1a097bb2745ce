//! SIGTERM of one service at every point: without any drain time, and with enough of it.

use crate::aftermath::{AGAIN, STOPPED, STOPPED_UNDELIVERED, UNTOUCHED};
use crate::cell::cells;

cells! {
    workflow_stopped_before_accept: Workflow Terminated BeforeAccept => UNTOUCHED;
    workflow_stopped_while_queued: Workflow Terminated Queued => UNTOUCHED;
    workflow_stopped_while_pulling: Workflow Terminated Pulling => AGAIN;
    workflow_stopped_while_the_agent_runs: Workflow Terminated AgentRuns => STOPPED;
    workflow_stopped_while_the_check_runs: Workflow Terminated CheckRuns => STOPPED;
    workflow_stopped_after_the_last_line: Workflow Terminated LastLine => STOPPED;
    workflow_stopped_while_delivering: Workflow Terminated Delivering => STOPPED_UNDELIVERED;
    workflow_stopped_before_the_end_is_stored: Workflow Asked Unstored => UNTOUCHED;

    git_pull_stopped_before_accept: GitPull Terminated BeforeAccept => UNTOUCHED;
    git_pull_stopped_while_queued: GitPull Terminated Queued => UNTOUCHED;
    git_pull_stopped_while_pulling: GitPull Terminated Pulling => AGAIN;
    git_pull_stopped_while_the_agent_runs: GitPull Terminated AgentRuns => UNTOUCHED;
    git_pull_stopped_while_the_check_runs: GitPull Terminated CheckRuns => UNTOUCHED;
    git_pull_stopped_after_the_last_line: GitPull Terminated LastLine => UNTOUCHED;
    git_pull_stopped_while_delivering: GitPull Terminated Delivering => UNTOUCHED;
    git_pull_stopped_before_the_end_is_stored: GitPull Terminated Unstored => UNTOUCHED;

    claude_exec_stopped_before_accept: ClaudeExec Terminated BeforeAccept => UNTOUCHED;
    claude_exec_stopped_while_queued: ClaudeExec Terminated Queued => UNTOUCHED;
    claude_exec_stopped_while_pulling: ClaudeExec Terminated Pulling => UNTOUCHED;
    claude_exec_stopped_while_the_agent_runs: ClaudeExec Terminated AgentRuns => STOPPED;
    claude_exec_stopped_while_the_check_runs: ClaudeExec Terminated CheckRuns => STOPPED;
    claude_exec_stopped_after_the_last_line: ClaudeExec Terminated LastLine => STOPPED;
    claude_exec_stopped_while_delivering: ClaudeExec Terminated Delivering => UNTOUCHED;
    claude_exec_stopped_before_the_end_is_stored: ClaudeExec Terminated Unstored => UNTOUCHED;

    gateway_stopped_before_accept: Gateway Terminated BeforeAccept => UNTOUCHED;
    gateway_stopped_while_queued: Gateway Terminated Queued => UNTOUCHED;
    gateway_stopped_while_pulling: Gateway Terminated Pulling => UNTOUCHED;
    gateway_stopped_while_the_agent_runs: Gateway Terminated AgentRuns => UNTOUCHED;
    gateway_stopped_while_the_check_runs: Gateway Terminated CheckRuns => UNTOUCHED;
    gateway_stopped_after_the_last_line: Gateway Terminated LastLine => UNTOUCHED;
    gateway_stopped_while_delivering: Gateway Terminated Delivering => UNTOUCHED;
    gateway_stopped_before_the_end_is_stored: Gateway Asked Unstored => UNTOUCHED;
    gateway_stopped_before_the_end_is_read: Gateway Terminated Unread => UNTOUCHED;

    workflow_drained_while_pulling: Workflow Drained Pulling => UNTOUCHED;
    workflow_drained_while_the_agent_runs: Workflow Drained AgentRuns => UNTOUCHED;
    workflow_drained_while_the_check_runs: Workflow Drained CheckRuns => UNTOUCHED;
    workflow_drained_after_the_last_line: Workflow Drained LastLine => UNTOUCHED;
    workflow_drained_while_delivering: Workflow Drained Delivering => UNTOUCHED;

    git_pull_drained_while_pulling: GitPull Drained Pulling => UNTOUCHED;
    git_pull_drained_while_delivering: GitPull Drained Delivering => UNTOUCHED;

    claude_exec_drained_while_the_agent_runs: ClaudeExec Drained AgentRuns => UNTOUCHED;
    claude_exec_drained_while_the_check_runs: ClaudeExec Drained CheckRuns => UNTOUCHED;
    claude_exec_drained_after_the_last_line: ClaudeExec Drained LastLine => UNTOUCHED;
}
