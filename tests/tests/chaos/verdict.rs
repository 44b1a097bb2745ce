//! Whether every promise was kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use end_to_end::Stack;
use tokio::time::{Instant, sleep, timeout};

use crate::agent::{Notes, Overlap};
use crate::crowd::Submitted;
use crate::door::{Door, Followed, ending};
use crate::house::Remains;
use crate::plan::{Evidence, Plan};
use crate::say;
use crate::story::Story;

/// How long the queue may take to empty once the killing has stopped.
const DRAIN: Duration = Duration::from_secs(300);

/// How long the stream of a follower may take to end once its job has.
const FOLLOWER: Duration = Duration::from_secs(60);

/// What was found. From `lost` on, everything must be empty.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// How many jobs ended in each way.
    pub(crate) endings: BTreeMap<String, u32>,
    /// Attempts beyond each job's first.
    pub(crate) retries: u64,
    /// Times that a follower came back.
    pub(crate) resumed: u32,
    /// Jobs without a patch of what their agent had written, that say why.
    pub(crate) unsalvaged: u32,
    /// Jobs that ran beside another one with the same key whose worker was lost.
    pub(crate) overlaps: Vec<String>,
    /// Accepted jobs that are unknown, have not ended, or "completed" without what the agent did.
    pub(crate) lost: Vec<String>,
    /// Jobs with two terminal events, more runs than their retries allow, two runs at a time, a run beside one
    /// of another job with the same concurrency key, or a second job under their idempotency key.
    pub(crate) doubled: Vec<String>,
    /// Streams whose ids are not 1, 2, 3, …, and followers that saw something else than is stored.
    pub(crate) gaps: Vec<String>,
    /// Ends that nothing explains, and events that contradict each other.
    pub(crate) wrong: Vec<String>,
    /// Processes, locks, jobs and files that should be gone.
    pub(crate) leftovers: Vec<String>,
}

impl Verdict {
    /// Says what was found.
    pub(crate) fn report(&self, name: &str) {
        let Self { retries, resumed, unsalvaged, overlaps, .. } = self;
        let Self { lost, doubled, gaps, wrong, leftovers, .. } = self;
        for line in overlaps {
            say(&format!("{name}: {line}"));
        }
        say(&format!("{name}: {:?}", self.endings));
        let overlaps = overlaps.len();
        let all = [lost, doubled, gaps, wrong, leftovers];
        let [lost, doubled, gaps, wrong, leftovers] = all.map(Vec::len);
        say(&format!(
            "{name}: {} jobs, {retries} retries, {resumed} resumed streams, {unsalvaged} unsalvaged, \
             {overlaps} overlaps; lost {lost}, doubled {doubled}, gaps {gaps}, wrong {wrong}, leftovers {leftovers}",
            self.endings.values().sum::<u32>(),
        ));
    }

    /// # Panics
    /// When a promise was broken; what remains of the house is kept then.
    pub(crate) fn assert_kept(&self, remains: Remains) {
        let Self { lost, doubled, gaps, wrong, leftovers, .. } = self;
        let broken: Vec<_> =
            [lost, doubled, gaps, wrong, leftovers].into_iter().flatten().collect();
        if !broken.is_empty() {
            panic!("broken promises: {broken:#?}; see {}", remains.keep().display());
        }
    }

    /// Waits until no job is queued or runs, and then looks at all of them.
    pub(crate) async fn on(door: &Door, stack: &Stack, all: Vec<Submitted>, notes: &Notes) -> Self {
        let mut verdict = Self::default();
        verdict.drain(door).await;
        verdict.count(door, &all).await;
        let replaced = replaced(&all);
        let mut given_up = BTreeSet::new();
        for submitted in all {
            let again = door.submit(&submitted.key, &submitted.request).await;
            if again != submitted.job {
                verdict.doubled.push(format!("{}: {} and {again}", submitted.key, submitted.job));
            }
            let is_replaced = replaced.contains(&submitted.job);
            let job = submitted.job.clone();
            let folder = stack.job_folder(&job);
            let story = verdict.look_at(door, submitted, is_replaced, notes, &folder).await;
            if story.is_some_and(|story| story.is_given_up) {
                given_up.insert(job);
            }
        }
        verdict.doubled.extend(notes.doubled().iter().map(|job| format!("{job}: two at a time")));
        for Overlap { earlier, later } in notes.overlaps() {
            let is_excused = given_up.contains(&earlier);
            let line = format!("{later} ran while {earlier} with the same key did");
            if is_excused { &mut verdict.overlaps } else { &mut verdict.doubled }.push(line);
        }
        stack.at_full_strength().await;
        verdict
    }

    async fn drain(&mut self, door: &Door) {
        let deadline = Instant::now() + DRAIN;
        loop {
            let jobs = door.get("/health").await["jobs"].take();
            if jobs["queued"] == 0 && jobs["running"] == 0 {
                return;
            }
            if Instant::now() > deadline {
                return self.leftovers.push(format!("the queue never became empty: {jobs}"));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// There are those jobs and no others.
    async fn count(&mut self, door: &Door, all: &[Submitted]) {
        let jobs = door.jobs().await;
        let listed: BTreeSet<_> = jobs.iter().filter_map(|job| job["id"].as_str()).collect();
        let accepted: BTreeSet<_> = all.iter().map(|it| it.job.as_str()).collect();
        if accepted.len() < all.len() {
            self.doubled.push("two keys have one job".to_owned());
        }
        self.lost.extend(accepted.difference(&listed).map(|job| format!("{job}: not listed")));
        self.doubled.extend(listed.difference(&accepted).map(|job| format!("{job}: nobody's")));
    }

    async fn look_at(
        &mut self,
        door: &Door,
        submitted: Submitted,
        is_replaced: bool,
        notes: &Notes,
        folder: &Path,
    ) -> Option<Story> {
        let (job, plan) = (&submitted.job, &submitted.plan);
        let view = door.get(&format!("/api/jobs/{job}")).await;
        let ending = ending(&view);
        *self.endings.entry(ending.clone()).or_default() += 1;
        if matches!(ending.as_str(), "queued" | "running") {
            // Its stream would not end.
            self.lost.push(format!("{job}: {view}"));
            return None;
        }
        let stored = door.follow(job).await;
        let story = Story::read(job, &stored.frames, self);
        let attempts = view["attempt"].as_u64().unwrap_or_default();
        self.retries += attempts.saturating_sub(1);
        let evidence = Evidence {
            ending: &ending,
            retries: story.retries,
            attempts,
            has_agent_begun: story.has_agent_begun,
            cancel: submitted.cancel.as_ref().map(|told| told.as_deref()),
            is_replaced,
        };
        if !plan.allows(&evidence)
            || story.last_attempt > attempts
            || story.outcome != view["outcome"]
        {
            let story = &story;
            self.wrong.push(format!("{job}: {evidence:?} of {plan:?}; {story:?}; {view}"));
        }
        self.look_at_runs(job, &evidence, notes);
        // In the last attempt, whose checkout this is.
        let work = std::fs::read_to_string(folder.join("repo/NEW.md")).unwrap_or_default();
        let has_written = notes.of(job).has_written && work.trim_end() == plan.mark();
        match door.patch(job).await {
            Some(patch) if is_work_of(plan, &patch) => {}
            Some(patch) => self.wrong.push(format!("{job}: {ending} with another patch: {patch}")),
            None if ending == "completed" => self.lost.push(format!("{job}: completed, no patch")),
            // The stream says why.
            None if has_written && story.is_unsalvaged => self.unsalvaged += 1,
            None if has_written => {
                self.lost.push(format!("{job}: {ending} without a patch, nor a word on why"));
            }
            None => {}
        }
        if let Some(follower) = submitted.follower {
            match timeout(FOLLOWER, follower).await {
                Ok(followed) => self.compare(job, &stored, &followed.expect("no follower panics")),
                Err(_) => self.gaps.push(format!("{job}: its follower never saw the end")),
            }
        }
        Some(story)
    }

    fn look_at_runs(&mut self, job: &str, evidence: &Evidence<'_>, notes: &Notes) {
        let runs = notes.of(job).count;
        let Evidence { attempts, retries, ending, .. } = *evidence;
        if runs > attempts || runs > retries + 1 {
            let line = format!("{job}: {runs} runs in {attempts} attempts with {retries} retries");
            self.doubled.push(line);
        }
        if ending == "completed" && runs == 0 {
            self.lost.push(format!("{job}: completed without an agent"));
        }
    }

    fn compare(&mut self, job: &str, stored: &Followed, followed: &Followed) {
        self.resumed += followed.connections.saturating_sub(1);
        if followed.frames != stored.frames {
            let ids: Vec<_> = followed.frames.iter().map(|frame| frame.id.as_deref()).collect();
            let stored = stored.frames.len();
            self.gaps.push(format!("{job}: its follower saw {ids:?} of {stored}"));
        }
    }
}

/// Whether the patch is what the agent did, once.
fn is_work_of(plan: &Plan, patch: &str) -> bool {
    let mark = format!("+{}\n", plan.mark());
    patch.matches("diff --git ").count() == 1 && patch.matches(&mark).count() == 1
}

/// The jobs whose places another one may have taken, which was not there before.
fn replaced(all: &[Submitted]) -> BTreeSet<String> {
    let is_replaced = |job: &&Submitted| {
        let key = job.plan.replace_key();
        let replaces = |other: &Submitted| {
            other.plan.replace_key() == key && other.job != job.job && other.accepted > job.asked
        };
        key.is_some() && all.iter().any(replaces)
    };
    all.iter().filter(is_replaced).map(|job| job.job.clone()).collect()
}
