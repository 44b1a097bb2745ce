//! Lists of jobs, newest first, a page at a time.
//!
//! A page costs as much as the jobs that are on it, however many others there are: each filter has an
//! index in the order of the list. Only where two filters share no index are jobs looked at in vain
//! that pass one of them.

use rusqlite::types::ToSql;
use service::protocol::job::JobState;

use super::Store;
use super::error::StoreError;
use super::query::{COLUMNS, REQUEST_COLUMN, Record, record};

/// A page of jobs ends early when their requests are as large as this together.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) token: Option<String>,
    pub(crate) state: Option<JobState>,
    pub(crate) label: Option<(String, String)>,
    pub(crate) repo: Option<String>,
    /// Only those before this row.
    pub(crate) before: Option<i64>,
    pub(crate) limit: usize,
}

impl Store {
    /// Jobs, newest first, and whether there are more.
    pub(crate) async fn jobs(&self, filter: Filter) -> Result<(Vec<Record>, bool), StoreError> {
        self.read(move |connection| {
            let (sql, values) = filter.to_sql();
            let values: Vec<&dyn ToSql> =
                values.iter().map(|value| &**value as &dyn ToSql).collect();
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(&*values)?;
            let (mut records, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                if records.len() == filter.limit || bytes > PAGE_BYTES {
                    return Ok((records, true));
                }
                bytes += row.get_ref(REQUEST_COLUMN)?.as_bytes().map_or(0, <[u8]>::len);
                records.push(record(row)?);
            }
            Ok((records, false))
        })
        .await
    }
}

impl Filter {
    fn to_sql(&self) -> (String, Vec<Box<dyn ToSql>>) {
        let mut sql = format!("SELECT {COLUMNS} FROM {} WHERE 1", self.tables());
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        let mut and = |condition: &str, value: Box<dyn ToSql>| {
            sql.push_str(" AND ");
            sql.push_str(condition);
            values.push(value);
        };
        if let Some((name, value)) = &self.label {
            and("labels.name = ?", Box::new(name.clone()));
            and("labels.value = ?", Box::new(value.clone()));
        }
        if let Some(token) = &self.token {
            and("token = ?", Box::new(token.clone()));
        }
        if let Some(state) = self.state {
            and("state = ?", Box::new(state.name()));
        }
        if let Some(repo) = &self.repo {
            and("repo = ?", Box::new(repo.clone()));
        }
        let row = if self.begins_with_label() { "labels.job" } else { "jobs.row" };
        if let Some(before) = self.before {
            and(&format!("{row} < ?"), Box::new(before));
        }
        sql.push_str(&format!(" ORDER BY {row} DESC"));
        (sql, values)
    }

    /// The tables, in the order in which they are to be read: the first one's index gives the order
    /// of the list.
    fn tables(&self) -> String {
        let tables = match &self.label {
            Some(_) if self.begins_with_label() => {
                "labels CROSS JOIN jobs ON jobs.row = labels.job"
            }
            Some(_) => "jobs CROSS JOIN labels ON labels.job = jobs.row",
            None => "jobs",
        };
        format!("{tables} CROSS JOIN requests ON requests.job = jobs.row")
    }

    /// Whether to look at the jobs with the label, rather than whether jobs have it: unless those
    /// are wanted that run, of which there are never many.
    fn begins_with_label(&self) -> bool {
        self.label.is_some() && self.state != Some(JobState::Running)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, StatementStatus};

    use super::*;
    use crate::store::schema;

    /// A store in which the oldest jobs run or have ended, and all later ones are queued.
    fn store(folder: &std::path::Path, jobs: u32) -> Connection {
        let connection = schema::open_for_writing(folder).unwrap();
        let insert = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?)
            INSERT INTO jobs (id, state, token, repo, priority, retries, created_at, last_event)
            SELECT n, CASE WHEN n <= 5 THEN 'running' WHEN n <= 20 THEN 'completed' ELSE 'queued' END,
            'crowd', 'repo', 0, 0, 0, 1 FROM n";
        connection.execute(insert, [jobs]).unwrap();
        let rest = "INSERT INTO requests (job, request) SELECT row, '{}' FROM jobs;
            INSERT INTO labels (job, name, value) SELECT row, 'batch', '1' FROM jobs;";
        connection.execute_batch(rest).unwrap();
        connection
    }

    /// The steps that SQLite takes for a page of ten.
    fn work(connection: &Connection, filter: &Filter) -> i32 {
        let (sql, values) = filter.to_sql();
        let values: Vec<&dyn ToSql> = values.iter().map(|value| &**value as &dyn ToSql).collect();
        let mut statement = connection.prepare(&sql).unwrap();
        let mut rows = statement.query(&*values).unwrap();
        for _ in 0..=10 {
            if rows.next().unwrap().is_none() {
                break;
            }
        }
        drop(rows);
        statement.get_status(StatementStatus::VmStep)
    }

    #[test]
    fn a_page_takes_no_longer_with_thousands_of_jobs_queued() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [few, many] = [(0, 40), (1, 4_000)].map(|(n, jobs)| store(folders[n].path(), jobs));
        let token = Some("crowd".to_owned());
        let repo = Some("repo".to_owned());
        let label = Some(("batch".to_owned(), "1".to_owned()));
        let all = Filter::default();
        let ended = Filter { state: Some(JobState::Completed), ..Filter::default() };
        let running = Filter { state: Some(JobState::Running), ..Filter::default() };
        for filter in [
            all.clone(),
            Filter { token: token.clone(), ..all.clone() },
            Filter { repo: repo.clone(), ..all.clone() },
            Filter { label: label.clone(), ..all.clone() },
            Filter { label: label.clone(), token: token.clone(), ..all.clone() },
            Filter { label: label.clone(), before: Some(39), ..all },
            ended.clone(),
            Filter { token: token.clone(), ..ended.clone() },
            Filter { repo: repo.clone(), ..ended.clone() },
            Filter { token: token.clone(), repo, ..ended },
            Filter { label, token, ..running },
        ] {
            let (few, many) = (work(&few, &filter), work(&many, &filter));
            assert!(many <= few * 2, "{many} steps instead of {few} for {filter:?}");
        }
    }

    #[test]
    fn filters_can_be_combined() {
        let folder = tempfile::tempdir().unwrap();
        let connection = store(folder.path(), 30);
        let rows = |filter: Filter| {
            let (sql, values) = filter.to_sql();
            let values: Vec<&dyn ToSql> =
                values.iter().map(|value| &**value as &dyn ToSql).collect();
            let mut statement = connection.prepare(&sql).unwrap();
            let rows = statement.query_map(&*values, |row| row.get(0)).unwrap();
            rows.collect::<Result<Vec<i64>, _>>().unwrap()
        };
        let filter = |state, before, value: &str| Filter {
            token: Some("crowd".to_owned()),
            repo: Some("repo".to_owned()),
            label: Some(("batch".to_owned(), value.to_owned())),
            state: Some(state),
            before,
            limit: 0,
        };
        assert_eq!(rows(filter(JobState::Running, None, "1")), [5, 4, 3, 2, 1]);
        assert_eq!(rows(filter(JobState::Running, Some(3), "1")), [2, 1]);
        assert_eq!(rows(filter(JobState::Completed, Some(9), "1")), [8, 7, 6]);
        for state in [JobState::Running, JobState::Completed] {
            assert!(rows(filter(state, None, "2")).is_empty());
        }
    }
}
