//! One connection shared by the stores, given up and made anew before a deadline.

use std::{
    fmt,
    future::Future,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError, Script, aio::MultiplexedConnection};
use tokio::time::timeout_at;

use super::scripts;
use crate::{error::StoreError, store::in_time};

/// How long calls fail at once after one failed: several calls of one request wait once, not each.
const BREAKER: Duration = Duration::from_millis(250);
/// How long the offset to the server's clock is trusted: clocks drift apart.
const OFFSET_AGE: Duration = Duration::from_secs(30);
/// A call that had less time than this left of its request's says nothing about Redis when it fails.
const FAIR: Duration = Duration::from_millis(100);
/// So many of them in a row say something all the same.
const MOST_MISSED: u32 = 2;
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
    trusted_until: Instant,
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
    /// How many calls in a row were not answered in the little time that they had.
    missed: AtomicU32,
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
        Self { client, state: Mutex::default(), missed: AtomicU32::new(0), connecting: tokio::sync::Mutex::new(()) }
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
    /// may be done twice.
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
        let Ok(link) = timeout_at(deadline.into(), self.link(deadline)).await else {
            return Err(StoreError::new("no connection to Redis before the deadline").into());
        };
        let mut link = link?;
        let time = time_to(deadline);
        let by_its_clock = link.server_ms + millis(deadline.saturating_duration_since(link.learned));
        let mut call = script.key(key);
        call.arg(by_its_clock).arg(millis(time) + SLACK_MS);
        for argument in arguments {
            call.arg(*argument);
        }
        let answer = timeout_at(deadline.into(), call.invoke_async(&mut link.connection)).await;
        if answer.is_ok() {
            self.missed.store(0, Ordering::Relaxed);
        }
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                match error.code() {
                    // A full Redis or list says nothing against the connection.
                    Some("OOM" | "FULL") => {}
                    // If not the caller, the offset to its clock may be wrong.
                    Some("LATE") => self.distrust_clock(link.number),
                    // Any other error may (a demoted primary).
                    _ => self.drop_link(link.number, false),
                }
                Err(if error.is_connection_dropped() { Failure::Cut(error) } else { StoreError::new(error).into() })
            }
            Err(_) => {
                if self.was_fair(time) {
                    self.drop_link(link.number, true);
                }
                Err(StoreError::new("Redis did not answer before the deadline").into())
            }
        }
    }

    /// Whether a call that was not answered says something about Redis: it had time, or was not the first without.
    fn was_fair(&self, time: Duration) -> bool {
        time >= FAIR || self.missed.fetch_add(1, Ordering::Relaxed) >= MOST_MISSED
    }

    async fn link(&self, deadline: Instant) -> Result<Link, StoreError> {
        if let Some(link) = self.ready()? {
            return Ok(link);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(link) = self.ready()? {
            return Ok(link);
        }
        // Ended here, a moment before the caller's own time: the breaker must open while the others still wait.
        let time = time_to(deadline);
        let early = deadline - Duration::from_millis(5).min(time / 10);
        let old = self.state().link.clone();
        let made = timeout_at(early.into(), self.connect(old.map(|link| link.connection))).await;
        let mut state = self.state();
        match made {
            Ok(Ok((connection, server_ms))) => {
                state.links += 1;
                let learned = Instant::now();
                let trusted_until = learned + OFFSET_AGE;
                let link = Link { connection, server_ms, learned, trusted_until, number: state.links };
                state.link = Some(link.clone());
                state.closed_until = None;
                Ok(link)
            }
            failed => {
                // An error is an answer, however little time there was.
                if failed.is_ok() || self.was_fair(time) {
                    state.link = None;
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
        if let Some(link) = state.link.as_ref().filter(|link| Instant::now() < link.trusted_until) {
            return Ok(Some(link.clone()));
        }
        if state.closed_until.is_some_and(|until| Instant::now() < until) {
            return Err(StoreError::new("Redis failed a moment ago and is not asked again yet"));
        }
        Ok(None)
    }

    async fn connect(&self, old: Option<MultiplexedConnection>) -> Result<(MultiplexedConnection, u64), RedisError> {
        if let Some(mut connection) = old {
            match redis::cmd("TIME").query_async(&mut connection).await {
                // While nobody used it, Redis has closed it.
                Err(error) if error.is_connection_dropped() => {}
                time => return time.map(|time| (connection, server_ms(time))),
            }
        }
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut pipe = redis::pipe();
        scripts::load_all(&mut pipe);
        let (time,) = pipe.cmd("TIME").query_async(&mut connection).await?;
        Ok((connection, server_ms(time)))
    }

    fn distrust_clock(&self, number: u64) {
        if let Some(link) = self.state().link.as_mut().filter(|link| link.number == number) {
            link.trusted_until = Instant::now();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_keeps_its_digits_in_lua() {
        assert_eq!(millis(Duration::from_millis(1_500)), 1_500);
        assert_eq!(millis(Duration::MAX), 3_153_600_000_000);
        assert_eq!((MAX_MS as f64) as u64, MAX_MS);
    }
}
