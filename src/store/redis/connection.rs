//! The connection that the stores share. Every call ends by its deadline.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use redis::{FromRedisValue, RedisError, ToRedisArgs, aio::MultiplexedConnection};
use tokio::time::timeout_at;

use super::scripts::{self, Decision};
use super::server::Server;
use crate::store::in_time;
use crate::sync::{Mutex, MutexGuard, lock};
use crate::{error::BoxError, secret::debug_only};

/// After a failure, calls fail at once for this long, so that one request does not wait several times.
const BREAKER: Duration = Duration::from_millis(250);
/// How long the offset to the server's clock is used: clocks drift apart.
const OFFSET_AGE: Duration = Duration::from_secs(30);
/// When a call with less time than this fails, that says nothing about Redis.
const FAIR: Duration = Duration::from_millis(100);
/// Unless so many of them fail in a row.
const MOST_MISSED: u32 = 2;
/// Allows for rounding and drift in a deadline.
const SLACK_MS: u64 = 50;

const NO_CONNECTION: &str = "no connection to Redis before the deadline";

/// 100 years. Longer times in milliseconds would lose digits in Lua.
pub(super) const MAX_MS: u64 = 100 * 365 * 24 * 3600 * 1000;

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(MAX_MS).min(MAX_MS)
}

pub(super) fn hex(id: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}

#[derive(Clone)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    /// The server's clock at `learned`.
    server_ms: u64,
    /// No two links have the same.
    learned: Instant,
    trusted_until: Instant,
}

impl Link {
    /// The second argument is the answer to `TIME`.
    fn new(connection: MultiplexedConnection, (seconds, micros): (u64, u64)) -> Self {
        let (learned, server_ms) = (Instant::now(), seconds * 1000 + micros / 1000);
        Self { connection, server_ms, learned, trusted_until: learned + OFFSET_AGE }
    }
}

#[derive(Default)]
struct State {
    link: Option<Link>,
    closed_until: Option<Instant>,
}

pub(super) struct Connection {
    pub(super) server: Server,
    state: Mutex<State>,
    /// How many calls in a row got no answer in the little time that they had.
    missed: AtomicU32,
    /// Locked by the one call that connects.
    connecting: tokio::sync::Mutex<()>,
}

debug_only!(Connection {});

impl Connection {
    pub(super) fn new(server: Server) -> Self {
        Self { server, state: Mutex::default(), missed: AtomicU32::new(0), connecting: tokio::sync::Mutex::new(()) }
    }

    /// Runs a script. `arguments` follow the deadline.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        decision: &Decision,
        key: &str,
        arguments: impl ToRedisArgs,
        deadline: Instant,
    ) -> Result<T, BoxError> {
        let mut again = decision.repeatable;
        loop {
            let mut link = self.reach(deadline).await?;
            let time = time_to(deadline);
            let by_its_clock = link.server_ms + millis(deadline.saturating_duration_since(link.learned));
            let mut call = decision.script.key(key);
            call.arg(by_its_clock).arg(millis(time) + SLACK_MS).arg(&arguments);
            let Ok(answer) = timeout_at(deadline.into(), call.invoke_async(&mut link.connection)).await else {
                if self.was_fair(time) {
                    self.drop_link(&link, true);
                }
                return Err("Redis did not answer before the deadline".into());
            };
            self.missed.store(0, Ordering::Relaxed);
            let Err(error) = answer else { return answer.map_err(BoxError::from) };
            match error.code() {
                // A full Redis or list is no fault of the connection, nor is a key that another node has.
                Some("OOM" | "FULL" | "MOVED" | "ASK") => {}
                // The caller was late, or the offset to the server's clock is wrong.
                Some("LATE") => self.distrust_clock(&link),
                // Any other error may be, for instance a demoted primary.
                _ => self.drop_link(&link, false),
            }
            if !error.is_connection_dropped() || !std::mem::take(&mut again) {
                return Err(error.into());
            }
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state().link.is_some()
    }

    /// Whether a call without an answer says something about Redis: it had time, or was one of several.
    fn was_fair(&self, time: Duration) -> bool {
        time >= FAIR || self.missed.fetch_add(1, Ordering::Relaxed) >= MOST_MISSED
    }

    /// The connection, new or not.
    pub(super) async fn reach(&self, deadline: Instant) -> Result<Link, BoxError> {
        in_time(deadline)?;
        timeout_at(deadline.into(), self.link(deadline)).await.map_err(|_| NO_CONNECTION)?
    }

    async fn link(&self, deadline: Instant) -> Result<Link, BoxError> {
        if let Some(link) = self.ready()? {
            return Ok(link);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(link) = self.ready()? {
            return Ok(link);
        }
        // A moment before the caller gives up, so that the breaker opens while the others still wait.
        let time = time_to(deadline);
        let early = deadline - Duration::from_millis(5).min(time / 10);
        let old = self.state().link.clone();
        let made = timeout_at(early.into(), self.connect(old.map(|link| link.connection))).await;
        // An error is an answer, however little time there was.
        let is_fair = made.is_ok() || self.was_fair(time);
        let made = made.map_err(|_| NO_CONNECTION.into()).and_then(|made| made.map_err(BoxError::from));
        let mut state = self.state();
        if is_fair {
            state.closed_until = made.is_err().then(|| Instant::now() + BREAKER);
            state.link = made.as_ref().ok().cloned();
        }
        made
    }

    /// The connection, if it can be used as it is.
    fn ready(&self) -> Result<Option<Link>, BoxError> {
        let state = self.state();
        if let Some(link) = state.link.as_ref().filter(|link| Instant::now() < link.trusted_until) {
            return Ok(Some(link.clone()));
        }
        if state.closed_until.is_some_and(|until| Instant::now() < until) {
            return Err("Redis failed a moment ago, and the next try is still to come".into());
        }
        Ok(None)
    }

    async fn connect(&self, old: Option<MultiplexedConnection>) -> Result<Link, RedisError> {
        if let Some(mut connection) = old {
            match redis::cmd("TIME").query_async(&mut connection).await {
                // Redis closed it while it was idle.
                Err(error) if error.is_connection_dropped() => {}
                time => return time.map(|time| Link::new(connection, time)),
            }
        }
        let mut connection = self.server.connect().await?;
        let mut pipe = redis::pipe();
        scripts::load_all(&mut pipe);
        pipe.cmd("TIME");
        if self.server.asking {
            // It counts for the next command of this connection, which is the only call.
            pipe.cmd("ASKING").ignore();
        }
        let (time,) = pipe.query_async(&mut connection).await?;
        Ok(Link::new(connection, time))
    }

    fn distrust_clock(&self, link: &Link) {
        if let Some(link) = self.state().link.as_mut().filter(|own| own.learned == link.learned) {
            link.trusted_until = Instant::now();
        }
    }

    fn drop_link(&self, link: &Link, open_breaker: bool) {
        let mut state = self.state();
        if state.link.take_if(|own| own.learned == link.learned).is_some() && open_breaker {
            state.closed_until = Some(Instant::now() + BREAKER);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn time_to(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Runs `future` in the background, if there is a runtime.
pub(super) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(future);
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
