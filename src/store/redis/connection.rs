//! One connection shared by the stores, given up and made anew before a deadline.

use std::{
    fmt,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError, Script, aio::MultiplexedConnection};
use tokio::time::timeout_at;

use super::scripts;
use crate::{StoreError, store::in_time};

/// How long calls fail at once after one failed: several calls of one request wait once, not each.
const BREAKER: Duration = Duration::from_millis(250);
/// How long the offset to the server's clock is trusted: clocks drift apart.
const OFFSET_AGE: Duration = Duration::from_secs(30);
/// A call that had less time than this left of its request's says nothing about Redis when it fails.
const FAIR: Duration = Duration::from_millis(100);
/// Rounding and drift that a deadline may be off by.
const SLACK_MS: u64 = 50;

/// 100 years: beyond it, times in milliseconds would lose digits in Lua.
pub(super) const MAX_MS: u64 = 100 * 365 * 24 * 3600 * 1000;

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(MAX_MS).min(MAX_MS)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[derive(Clone)]
struct Link {
    connection: MultiplexedConnection,
    /// The server's clock at `learned`.
    server_ms: u64,
    learned: Instant,
    number: u64,
}

/// Why a script was not answered.
enum Failure {
    /// The connection had ended, before the script or with it.
    Cut(RedisError),
    Other(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Cut(error) => Self::new(error),
            Failure::Other(error) => error,
        }
    }
}

#[derive(Default)]
struct State {
    link: Option<Link>,
    closed_until: Option<Instant>,
    links: u64,
}

pub(super) struct Connection {
    pub(super) client: Client,
    state: Mutex<State>,
    /// Held by the one call that connects.
    connecting: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        Self { client, state: Mutex::default(), connecting: tokio::sync::Mutex::new(()) }
    }

    /// Runs a script that begins with `now.lua`; `arguments` follow the deadline, by which all of it ends.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        key: &str,
        arguments: &[&[u8]],
        deadline: Instant,
    ) -> Result<T, StoreError> {
        self.send(script, key, arguments, deadline).await.map_err(StoreError::from)
    }

    /// Runs a script, and once more where the connection turns out to be cut, as it is after a restart of Redis: for what
    /// a request asks first, and may be done twice.
    pub(super) async fn run_again_if_cut<T: FromRedisValue>(
        &self,
        script: &Script,
        key: &str,
        arguments: &[&[u8]],
        deadline: Instant,
    ) -> Result<T, StoreError> {
        match self.send(script, key, arguments, deadline).await {
            Err(Failure::Cut(_)) => self.run(script, key, arguments, deadline).await,
            answer => answer.map_err(StoreError::from),
        }
    }

    async fn send<T: FromRedisValue>(
        &self,
        script: &Script,
        key: &str,
        arguments: &[&[u8]],
        deadline: Instant,
    ) -> Result<T, Failure> {
        in_time(deadline)?;
        let fair = time_to(deadline) >= FAIR;
        let Ok(link) = timeout_at(deadline.into(), self.link(deadline, fair)).await else {
            return Err(StoreError::new("no connection to Redis before the deadline").into());
        };
        let mut link = link?;
        let by_its_clock = link.server_ms + millis(deadline.saturating_duration_since(link.learned));
        let mut call = script.key(key);
        call.arg(by_its_clock).arg(millis(time_to(deadline)) + SLACK_MS);
        for argument in arguments {
            call.arg(*argument);
        }
        match timeout_at(deadline.into(), call.invoke_async(&mut link.connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                // A full Redis or list says nothing against the connection; any other error may (a demoted primary).
                if !matches!(error.code(), Some("OOM" | "FULL")) {
                    self.drop_link(link.number, false);
                }
                Err(if error.is_connection_dropped() { Failure::Cut(error) } else { StoreError::new(error).into() })
            }
            Err(_) => {
                if fair {
                    self.drop_link(link.number, true);
                }
                Err(StoreError::new("Redis did not answer before the deadline").into())
            }
        }
    }

    async fn link(&self, deadline: Instant, fair: bool) -> Result<Link, StoreError> {
        if let Some(link) = self.ready()? {
            return Ok(link);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(link) = self.ready()? {
            return Ok(link);
        }
        // Ended here, a moment before the caller's own time: the breaker must open while the others still wait.
        let early = deadline - Duration::from_millis(5).min(time_to(deadline) / 10);
        let old = self.state().link.take();
        let made = timeout_at(early.into(), self.connect(old.map(|link| link.connection))).await;
        let mut state = self.state();
        match made {
            Ok(Ok((connection, server_ms))) => {
                state.links += 1;
                let link = Link { connection, server_ms, learned: Instant::now(), number: state.links };
                state.link = Some(link.clone());
                state.closed_until = None;
                Ok(link)
            }
            failed => {
                // An error is an answer, however little time there was.
                if fair || failed.is_ok() {
                    state.closed_until = Some(Instant::now() + BREAKER);
                }
                Err(match failed {
                    Ok(Err(error)) => StoreError::new(error),
                    _ => StoreError::new("no connection to Redis before the deadline"),
                })
            }
        }
    }

    /// The connection, if it can be used as it is.
    fn ready(&self) -> Result<Option<Link>, StoreError> {
        let state = self.state();
        if let Some(link) = state.link.as_ref().filter(|link| link.learned.elapsed() < OFFSET_AGE) {
            return Ok(Some(link.clone()));
        }
        if state.closed_until.is_some_and(|until| Instant::now() < until) {
            return Err(StoreError::new("Redis failed a moment ago and is not asked again yet"));
        }
        Ok(None)
    }

    async fn connect(&self, old: Option<MultiplexedConnection>) -> Result<(MultiplexedConnection, u64), RedisError> {
        let mut pipe = redis::pipe();
        let mut connection = match old {
            Some(connection) => connection,
            None => {
                scripts::load_all(&mut pipe);
                let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
                self.client.get_multiplexed_async_connection_with_config(&config).await?
            }
        };
        let (time,) = pipe.cmd("TIME").query_async(&mut connection).await?;
        Ok((connection, server_ms(time)))
    }

    fn drop_link(&self, number: u64, open_breaker: bool) {
        let mut state = self.state();
        if state.link.as_ref().is_some_and(|link| link.number == number) {
            state.link = None;
            if open_breaker {
                state.closed_until = Some(Instant::now() + BREAKER);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn time_to(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// The answer to `TIME`: seconds and microseconds.
pub(super) fn server_ms((seconds, micros): (u64, u64)) -> u64 {
    seconds * 1000 + micros / 1000
}

/// Runs `future` in the background where there is a runtime to do so.
pub(super) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> bool {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => {
            runtime.spawn(future);
            true
        }
        Err(_) => false,
    }
}
