//! Finding a job by a part of its id.

use client::protocol::JobId;
use client::{Endpoint, JobFilter};

use crate::failure::Usage;

/// Fewer characters are too likely to name several jobs.
const MIN_CHARACTERS: usize = 6;

/// How many of the newest jobs are looked through: pages of the list, and jobs on each.
const PAGES: usize = 10;
const PAGE: u32 = 200;

/// The job with this id, or whose id begins or ends like this.
pub(crate) async fn find(gateway: &Endpoint, text: &str) -> anyhow::Result<JobId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let part = text.to_ascii_lowercase();
    let is_part = part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if !is_part || part.len() < MIN_CHARACTERS {
        return Err(Usage::error(format!(
            "{text:?} is not a job's id, nor {MIN_CHARACTERS} or more characters of its beginning or end"
        )));
    }
    let mut filter = JobFilter { limit: Some(PAGE), ..JobFilter::default() };
    let mut found = Vec::new();
    for _ in 0..PAGES {
        let page = gateway.jobs(&filter).await?;
        found.extend(page.jobs.iter().map(|job| job.id).filter(|id| matches(*id, &part)));
        filter.cursor = page.next_cursor;
        if filter.cursor.is_none() {
            break;
        }
    }
    choose(&part, &found)
}

fn matches(id: JobId, part: &str) -> bool {
    let id = id.to_string();
    id.starts_with(part) || id.ends_with(part)
}

fn choose(part: &str, found: &[JobId]) -> anyhow::Result<JobId> {
    match found {
        [id] => Ok(*id),
        [] => Err(Usage::error(format!("no job has an id that begins or ends with {part}"))),
        [first, second, ..] => Err(Usage::error(format!(
            "{} jobs have ids that begin or end with {part}, such as {first} and {second}",
            found.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_or_an_end_finds_a_job_unless_it_finds_two() {
        let ids: [JobId; 2] = [
            "0192f0c1-7c5e-7b3a-9d57-2f1f5c0e8a11".parse().unwrap(),
            "0192f0c1-7c5e-7b3a-9d57-2f1f5c0e8a22".parse().unwrap(),
        ];
        let find = |part: &str| {
            let found: Vec<JobId> = ids.into_iter().filter(|id| matches(*id, part)).collect();
            choose(part, &found).map_err(|error| error.to_string())
        };
        assert_eq!(find("0e8a22"), Ok(ids[1]));
        assert!(find("0192f0").unwrap_err().starts_with("2 jobs"));
        assert!(find("7c5e7b").unwrap_err().starts_with("no job"));
    }
}
