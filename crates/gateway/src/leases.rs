//! Running jobs lease the workers of their steps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use service::ApiError;
use service::protocol::worker::{Lease, LeaseRequest};
use service::protocol::{ErrorCode, JobId, RequestError, WorkerKind, WorkspaceId};
use tokio::sync::oneshot;

use crate::absences;
use crate::gateway::{Core, Gateway};
use crate::registry::{Answer, Ticket, Wish};
use crate::store::{Change, Transition};

/// How long a request for a worker is held; shorter than what common proxies allow.
const HOLD: Duration = Duration::from_secs(20);

/// A place in the line for a worker; dropping it gives it up.
struct Place {
    gateway: Arc<Gateway>,
    ticket: Ticket,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut core = self.gateway.core();
        core.registry.withdraw(self.ticket);
        core.calls.remove(&self.ticket);
    }
}

impl Gateway {
    /// Sets an idle worker aside, waiting for one if need be.
    ///
    /// # Errors
    /// `conflict` when the job is not running, `not_found` when there has been no worker in the
    /// workspace for long while there are some elsewhere, `unavailable` when none became idle in time.
    pub(crate) async fn lease(self: &Arc<Self>, request: LeaseRequest) -> Result<Lease, ApiError> {
        if request.kind == WorkerKind::Workflow {
            let message = "kind workflow is not for lease: the gateway itself gives jobs to them";
            return Err(RequestError::field(ErrorCode::NotAllowed, "kind", message).into());
        }
        let wish = Wish { kind: request.kind, workspace: request.workspace };
        let (call, hold) = self.core().call(wish, request.job, Instant::now())?;
        let lease = tokio::select! {
            in_time = tokio::time::timeout(hold, self.answered(call)) => in_time.ok().flatten(),
            () = self.stop.cancelled() => return Err(none_idle(request.kind, 1)),
        };
        let lease = lease.ok_or_else(|| none_idle(request.kind, 0))?;
        self.core().place(request.job, lease.workspace);
        if request.kind == WorkerKind::ClaudeExec {
            self.note_agents_lease(request.job, lease.workspace).await?;
        }
        Ok(lease)
    }

    /// Writes down that a job's agent may begin at any moment now. A gateway that comes after this
    /// one and finds all of the job's workers dead knows nothing better, and must not run it again.
    async fn note_agents_lease(
        &self,
        id: JobId,
        workspace: Option<WorkspaceId>,
    ) -> Result<(), ApiError> {
        let job = {
            let mut core = self.core();
            if let Some(running) = core.runners.get_mut(&id) {
                running.has_leased_agent = true;
            }
            core.scheduler.job_ref(id)
        };
        let unused = || none_idle(WorkerKind::ClaudeExec, 1);
        let change = Change::new(job.ok_or_else(unused)?, Transition::AgentLeased { workspace });
        self.commit(change).await.map(drop).ok_or_else(unused)
    }

    /// Sets an idle worker aside for a job whose own worker is lost, before all others who wait.
    pub(crate) async fn lease_first(self: &Arc<Self>, wish: Wish, job: JobId) -> Option<Lease> {
        let call = {
            let mut core = self.core();
            let answer = core.registry.ask_first(wish, job);
            core.called(answer)
        };
        self.answered(call).await
    }

    /// Waits for the worker; giving up gives the place in the line up.
    async fn answered(self: &Arc<Self>, call: Call) -> Option<Lease> {
        match call {
            Call::Granted(lease) => {
                self.look_after(lease.worker);
                Some(lease)
            }
            Call::Waits(ticket, called) => {
                let _place = Place { gateway: Arc::clone(self), ticket };
                called.await.ok()
            }
        }
    }
}

/// A worker, or a place in the line for one.
enum Call {
    Granted(Lease),
    Waits(Ticket, oneshot::Receiver<Lease>),
}

impl Core {
    /// Gets a running job in line for a worker; tells how long to stay there.
    fn call(&mut self, wish: Wish, job: JobId, now: Instant) -> Result<(Call, Duration), ApiError> {
        let is_lost = self.runners.get(&job).is_some_and(|run| run.worker.is_none());
        if is_lost || !self.scheduler.is_running(job) {
            let message = format!("job {job} is not running here");
            return Err(ApiError::new(ErrorCode::Conflict, message));
        }
        // A gateway that is new here knows it from nobody else.
        self.place(job, wish.workspace);
        let mut hold = HOLD;
        if !self.registry.has(wish.kind) {
            // It would find none elsewhere either: better late than lost.
            self.absences.suspend(wish.kind);
        } else if !self.registry.has_fitting(wish) {
            let left = absences::LONGEST.saturating_sub(self.absences.noted(wish, job, now));
            if left.is_zero() {
                return Err(none_there(wish));
            }
            hold = hold.min(left);
        }
        let answer = self.registry.ask(wish, job);
        Ok((self.called(answer), hold))
    }

    fn called(&mut self, answer: Answer) -> Call {
        match answer {
            Answer::Granted(lease) => Call::Granted(lease),
            Answer::Waits(ticket) => {
                let (call, called) = oneshot::channel();
                self.calls.insert(ticket, call);
                Call::Waits(ticket, called)
            }
        }
    }
}

fn none_idle(kind: WorkerKind, retry_after: u32) -> ApiError {
    let message = format!("no {kind} worker that fits is idle; ask again");
    ApiError::new(ErrorCode::Unavailable, message).retry_after(retry_after)
}

fn none_there(wish: Wish) -> ApiError {
    let (kind, seconds) = (wish.kind, absences::LONGEST.as_secs());
    let place = wish.workspace.map(|id| format!(" of workspace {id}")).unwrap_or_default();
    ApiError::not_found(format!("no {kind} worker{place} has been attached for {seconds} s"))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use service::protocol::request::OnConflict;
    use service::protocol::worker::Attach;
    use service::protocol::{WorkerId, WorkspaceId};

    use super::*;
    use crate::scheduler::{Account, Agent, NewJob};

    fn running(core: &mut Core) -> JobId {
        let (id, account, on_conflict) = (JobId::random(), Account::new("", ""), OnConflict::Queue);
        let (agent, group) = (Agent::default(), None);
        let new = NewJob { account, agent, priority: 0, retries: 0, group, on_conflict };
        core.scheduler.admit(id, new).unwrap();
        core.scheduler.committed(id, 1);
        core.scheduler.start_next(Instant::now()).unwrap().job.id
    }

    fn git_pull(workspace: WorkspaceId) -> Attach {
        Attach {
            id: WorkerId::random(),
            kind: WorkerKind::GitPull,
            port: 4000,
            workspace: Some(workspace),
            node: "node".to_owned(),
            version: "1".to_owned(),
            agents: Vec::new(),
            job: None,
            is_leaving: false,
            succeeds: None,
        }
    }

    #[test]
    fn a_workspace_that_nobody_is_left_in_is_waited_for_a_minute_and_no_longer() {
        let (mut core, begun) = (Core::default(), Instant::now());
        let job = running(&mut core);
        let elsewhere = git_pull(WorkspaceId::random());
        core.registry.attach(elsewhere.clone(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let at = |seconds| begun + Duration::from_secs(seconds);
        let workspace = WorkspaceId::random();
        let wish = Wish { kind: WorkerKind::GitPull, workspace: Some(workspace) };
        let ask = |core: &mut Core, seconds| core.call(wish, job, at(seconds)).map(|it| it.1);
        assert_eq!(ask(&mut core, 0).unwrap(), HOLD);
        assert_eq!(ask(&mut core, 50).unwrap(), Duration::from_secs(10));
        let error = ask(&mut core, 60).unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound);
        // One that was there for a moment is a sign of life.
        let attach = git_pull(workspace);
        let line = core.registry.attach(attach.clone(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        core.absences.end(attach.kind, attach.workspace);
        assert!(core.registry.detach(attach.id, line));
        assert_eq!(ask(&mut core, 61).unwrap(), HOLD);
        // Busy ones are waited for, however long that takes.
        let anywhere = Wish { workspace: None, ..wish };
        for seconds in [0, 1000, 2000] {
            assert!(core.call(anywhere, job, at(seconds)).is_ok());
        }
        core.registry.attach(attach.clone(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        core.registry.set_busy(attach.id);
        assert!(ask(&mut core, 3000).is_ok());
    }

    #[test]
    fn each_job_waits_for_itself_and_for_ever_while_there_is_nobody_anywhere() {
        let (mut core, begun) = (Core::default(), Instant::now());
        let jobs = [running(&mut core), running(&mut core)];
        let at = |seconds| begun + Duration::from_secs(seconds);
        let wish = Wish { kind: WorkerKind::GitPull, workspace: Some(WorkspaceId::random()) };
        for seconds in [0, 1000, 2000] {
            assert_eq!(core.call(wish, jobs[0], at(seconds)).unwrap().1, HOLD);
        }
        let elsewhere = git_pull(WorkspaceId::random());
        core.registry.attach(elsewhere.clone(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert!(core.call(wish, jobs[0], at(3000)).is_ok());
        assert!(core.call(wish, jobs[1], at(3059)).is_ok());
        assert!(core.call(wish, jobs[0], at(3060)).is_err());
        assert!(core.call(wish, jobs[1], at(3060)).is_ok());
        // Nor does what was waited before there was nobody at all for a while.
        let gone = core.registry.drop_worker(elsewhere.id);
        assert!(gone.is_some() && core.call(wish, jobs[1], at(3200)).is_ok());
        core.registry.attach(elsewhere, IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert!(core.call(wish, jobs[1], at(3201)).is_ok());
        // What an attempt has waited does not count for the next one.
        core.absences.forget(jobs[0]);
        assert!(core.call(wish, jobs[0], at(3061)).is_ok());
    }
}
