//! The pool that the stores share, and the offset to the server's clock.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments as _, FromRow, PgConnection, PgPool, Postgres};
use tower_oauth2_password::BoxError;

use crate::call::{before, micros};

/// How long the offset to the server's clock is used: clocks drift apart.
const OFFSET_AGE: Duration = Duration::from_secs(30);
/// The code of what {p}now raises.
const LATE: &str = "OA001";

/// The server's clock at a moment of ours.
#[derive(Clone, Copy)]
struct Clock {
    server: i64,
    learned: Instant,
}

pub(super) struct Connection {
    pub(super) pool: PgPool,
    /// The schema and the prefix of all names.
    pub(super) names: String,
    pub(super) channel: String,
    clock: Mutex<Option<Clock>>,
}

/// Arguments of a function in the database.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => {{
        let mut arguments = sqlx::postgres::PgArguments::default();
        $(sqlx::Arguments::add(&mut arguments, $value)?;)*
        arguments
    }};
}
pub(super) use arguments;

impl Connection {
    pub(super) fn new(pool: PgPool, names: String, channel: String) -> Self {
        Self { pool, names, channel, clock: Mutex::new(None) }
    }

    /// Calls a function with the deadline before its other arguments, and returns its rows.
    pub(super) async fn call<T>(
        &self,
        function: &str,
        mut arguments: PgArguments,
        deadline: Instant,
    ) -> Result<Vec<T>, BoxError>
    where
        T: for<'row> FromRow<'row, PgRow> + Send + Unpin,
    {
        let mut connection = before(deadline, async { Ok(self.pool.acquire().await?) }).await?;
        let answer = before(deadline, async {
            let count = arguments.len();
            let others: String = (1..=count).map(|place| format!(", ${place}")).collect();
            let call = format!("SELECT * FROM {}{function}(${}, ${}{others})", self.names, count + 1, count + 2);
            let clock = self.clock(&mut connection).await?;
            arguments.add(clock.server.saturating_add(micros(deadline.saturating_duration_since(clock.learned))))?;
            arguments.add(micros(deadline.saturating_duration_since(Instant::now())))?;
            Ok(sqlx::query_as_with::<Postgres, T, _>(&call, arguments).fetch_all(&mut *connection).await?)
        });
        let answer = answer.await;
        if let Err(error) = &answer {
            match error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error) {
                // The caller was late, or the offset to the server's clock is wrong.
                Some(error) if error.code().is_some_and(|code| code == LATE) => *self.learned() = None,
                Some(_) => {}
                // Without an answer: the pool would wait for one before it used the connection again.
                None => connection.close_on_drop(),
            }
        }
        answer
    }

    /// Like [`call`](Self::call), for a function that returns one row.
    pub(super) async fn ask<T>(&self, function: &str, arguments: PgArguments, deadline: Instant) -> Result<T, BoxError>
    where
        T: for<'row> FromRow<'row, PgRow> + Send + Unpin,
    {
        let answer = self.call(function, arguments, deadline).await?.pop();
        answer.ok_or_else(|| format!("the function {}{function} returned no row", self.names).into())
    }

    /// Whether the functions can be used as this user, with these settings.
    pub(super) async fn check(&self, deadline: Instant) -> Result<(), BoxError> {
        self.ask::<(i64,)>("now", PgArguments::default(), deadline).await.map(drop)
    }

    async fn clock(&self, connection: &mut PgConnection) -> Result<Clock, BoxError> {
        let known = *self.learned();
        if let Some(clock) = known.filter(|clock| clock.learned.elapsed() < OFFSET_AGE) {
            return Ok(clock);
        }
        let server = sqlx::query_scalar(&format!("SELECT {}clock()", self.names)).fetch_one(connection).await?;
        Ok(*self.learned().insert(Clock { server, learned: Instant::now() }))
    }

    fn learned(&self) -> MutexGuard<'_, Option<Clock>> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("names", &self.names).finish_non_exhaustive()
    }
}
