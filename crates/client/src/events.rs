//! A job's events, followed across broken connections.

use std::time::Duration;

use protocol::JobId;
use protocol::event::is_terminal;
use protocol::headers::LAST_EVENT_ID;
use protocol::sse::{Frame, Parser};
use reqwest::{Method, Response, StatusCode};
use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::error::ClientError;

/// Pause before the second try; doubled each time up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// When a stream counts as broken, and how long to go on trying then.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// While nothing comes, not even the comment that a stream carries every 15 s. To try again
    /// costs nothing but a request.
    pub silence: Duration,
    /// While a request brings no answer.
    pub answer: Duration,
    /// While nothing listens at the address.
    pub refused: Duration,
    /// While the address cannot be reached, or answers with errors of its own making.
    pub unreachable: Duration,
}

impl Patience {
    /// For a worker: its port is closed exactly when it is dead, and it gives its reader 30 s.
    pub const WORKER: Self = Self {
        silence: Duration::from_secs(20),
        answer: Duration::from_secs(5),
        refused: Duration::from_millis(300),
        unreachable: Duration::from_secs(20),
    };

    /// For a gateway: it comes back, and it forgets nothing.
    pub const GATEWAY: Self = Self {
        silence: Duration::from_secs(45),
        answer: Duration::from_secs(30),
        refused: Duration::from_secs(120),
        unreachable: Duration::from_secs(600),
    };
}

/// A job's events from some position to its last one, resumed whenever the connection breaks.
#[derive(Debug)]
pub struct EventStream {
    endpoint: Endpoint,
    job: JobId,
    after: u64,
    patience: Patience,
    connection: Option<Connection>,
    has_ended: bool,
}

#[derive(Debug)]
struct Connection {
    response: Response,
    parser: Parser,
}

impl From<Response> for Connection {
    fn from(response: Response) -> Self {
        Self { response, parser: Parser::default() }
    }
}

impl EventStream {
    /// The events of `job` after the one with the id `after` (0: all of them).
    #[must_use]
    pub fn new(endpoint: Endpoint, job: JobId, after: u64, patience: Patience) -> Self {
        Self { endpoint, job, after, patience, connection: None, has_ended: false }
    }

    pub(crate) fn with_response(mut self, response: Response) -> Self {
        self.connection = Some(response.into());
        self
    }

    /// The job that is followed.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.job
    }

    /// The service that the events come from.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The id of the last event that was returned.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.after
    }

    /// The next events, as many as have arrived; `None` after the terminal one.
    ///
    /// # Errors
    /// When the service rejects the request, or stays away for longer than the patience allows.
    /// The call may be repeated.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<Frame>>, ClientError> {
        if self.has_ended {
            return Ok(None);
        }
        let mut lost: Option<Lost> = None;
        loop {
            let error = match self.read().await {
                Ok(frames) if !frames.is_empty() => return Ok(Some(frames)),
                Ok(_) if self.has_ended => return Ok(None),
                Ok(_) => continue,
                Err(error) => error,
            };
            self.connection = None;
            let lost = lost.get_or_insert_with(Lost::now);
            if !lost.may_go_on(&error, self.patience) {
                return Err(error);
            }
            tokio::time::sleep(lost.next_pause()).await;
        }
    }

    /// Reads one chunk; an empty answer means that it completed no event that is new.
    async fn read(&mut self) -> Result<Vec<Frame>, ClientError> {
        if self.connection.is_none() {
            let response = self.connect().await?;
            if response.status() == StatusCode::NO_CONTENT {
                // The service's word that the last event lies behind us.
                self.has_ended = true;
                return Ok(Vec::new());
            }
            self.connection = Some(response.into());
        }
        let endpoint = &self.endpoint;
        let Some(Connection { response, parser }) = &mut self.connection else {
            return Ok(Vec::new());
        };
        let silence = self.patience.silence;
        let silent = || format!("its stream is silent for {} s", silence.as_secs());
        let chunk = tokio::time::timeout(silence, response.chunk())
            .await
            .map_err(|_| endpoint.unreachable(&silent()))?
            .map_err(|error| ClientError::from_reqwest(endpoint.base(), &error))?
            .ok_or_else(|| endpoint.unreachable("its stream broke off"))?;
        let mut frames = Vec::new();
        parser.push(&chunk, &mut frames).map_err(|error| endpoint.protocol(&error.to_string()))?;
        // A service may repeat what was on its way when a connection broke.
        frames.retain(|frame| frame.id > self.after);
        if let Some(last) = frames.last() {
            self.after = last.id;
            self.has_ended = is_terminal(&last.event);
        }
        Ok(frames)
    }

    async fn connect(&self) -> Result<Response, ClientError> {
        let request = self
            .endpoint
            .request(Method::GET, &format!("/api/jobs/{}/events", self.job))
            .header(LAST_EVENT_ID, self.after.to_string());
        let answer = self.patience.answer;
        let none = || format!("no answer for {} s", answer.as_secs());
        let sent = tokio::time::timeout(answer, self.endpoint.send(request)).await;
        sent.unwrap_or_else(|_| Err(self.endpoint.unreachable(&none())))
    }
}

/// A connection that is broken since some time.
#[derive(Debug)]
struct Lost {
    since: Instant,
    pause: Duration,
}

impl Lost {
    fn now() -> Self {
        Self { since: Instant::now(), pause: PAUSE_MIN }
    }

    fn may_go_on(&self, error: &ClientError, patience: Patience) -> bool {
        let limit = match error {
            ClientError::Refused { .. } => patience.refused,
            ClientError::Unreachable { .. } => patience.unreachable,
            ClientError::Rejected { status, .. } if *status >= 500 || *status == 429 => {
                patience.unreachable
            }
            _ => return false,
        };
        self.since.elapsed() < limit
    }

    fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        pause
    }
}
