//! What happened, for your own code: a mail about a new sign-in, or an alarm. The audit log has the same.

use std::time::{Duration, SystemTime};
use std::{net::IpAddr, sync::Arc};

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::{runtime::Handle, time::Instant};

use crate::error::{BoxFuture, TokenError};
use crate::observe::{self, log, measure};
use crate::secret::debug_only;
use crate::sync::{Mutex, lock, timeout_at, unwind_guarded_future};

/// So many events may wait.
const QUEUE: usize = 1_024;
/// The app has this long for each.
const LONGEST: Duration = Duration::from_secs(30);

/// What happened, for [`with_event_handler`](crate::AuthorizationServer::with_event_handler). It holds no password and no token, and
/// texts are cut at 128 characters.
///
/// ```
/// use tower_oauth2_password::{AuthorizationServer, Event, EventKind, Jwt, Key, Login, Verdict};
///
/// async fn mail(event: Event) {
///     if event.kind == EventKind::Login {
///         println!("a new sign-in of {:?} from {:?}", event.subject, event.address); // look up the mail address, and send it
///     }
/// }
///
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt).with_event_handler(mail);
/// # Ok::<(), tower_oauth2_password::KeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What it was.
    pub kind: EventKind,
    /// When it was.
    pub at: SystemTime,
    /// The user. For [`Denied`](EventKind::Denied), [`Blocked`](EventKind::Blocked) and [`Overloaded`](EventKind::Overloaded) it
    /// is the username as it was typed, which may be a password by mistake; in the second step of a login it is the user, and in
    /// a grant of your own there is none.
    pub subject: Option<String>,
    /// The client, if one was named.
    pub client_id: Option<String>,
    /// The address that the request came from, if it is known.
    pub address: Option<IpAddr>,
    /// The path of the endpoint. It is empty if your own code ended the sessions.
    pub path: String,
    /// The session ([`AccessToken::session_id`](crate::AccessToken::session_id)).
    pub session_id: Option<String>,
}

/// The kinds of events.
///
/// ```
/// use tower_oauth2_password::EventKind;
///
/// assert_eq!(EventKind::SessionEnded.name(), "session_ended");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// A user logged in.
    Login,
    /// A client got a token for itself.
    ClientLogin,
    /// The username or password was wrong.
    Denied,
    /// Too many failures: the client got a 429.
    Blocked,
    /// The client got a 503.
    Overloaded,
    /// A client is unknown, or its secret was wrong.
    ClientDenied,
    /// The password was right, and the second factor is asked for.
    MfaRequired,
    /// The code of the second factor was wrong.
    MfaDenied,
    /// A refresh token was used.
    Refresh,
    /// An old refresh token was used again, and its session was ended: somebody may have stolen it.
    Reuse,
    /// A token was revoked by `POST /revoke`.
    Revoked,
    /// Your own code, a new security stamp, or another login in the same browser ended a session, or all of a subject if it names
    /// none.
    SessionEnded,
}

impl EventKind {
    /// Its name in the audit log and the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::ClientLogin => "client_login",
            Self::Denied => "denied",
            Self::Blocked => "blocked",
            Self::Overloaded => "overloaded",
            Self::ClientDenied => "client_denied",
            Self::MfaRequired => "mfa_required",
            Self::MfaDenied => "mfa_denied",
            Self::Refresh => "refresh",
            Self::Reuse => "reuse",
            Self::Revoked => "revoke",
            Self::SessionEnded => "session_ended",
        }
    }

    /// Without any credentials.
    fn is_caused_by_anyone(self) -> bool {
        matches!(self, Self::Denied | Self::Blocked | Self::Overloaded | Self::ClientDenied)
    }
}

/// One decision, for the audit log and the app.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Audit<'a> {
    pub(crate) subject: Option<&'a str>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) path: &'a str,
    pub(crate) session: Option<&'a str>,
    pub(crate) events: Option<&'a Events>,
}

impl Audit<'_> {
    /// Records an attempt that was refused before it was decided.
    pub(crate) fn unserved<T>(self, attempt: Result<T, TokenError>) -> Result<T, TokenError> {
        attempt.inspect_err(|error| match error.status().as_u16() {
            429 => self.record(EventKind::Blocked),
            503 => self.record(EventKind::Overloaded),
            _ => {}
        })
    }

    /// Writes it to the audit log, counts it, and passes it to the app.
    pub(crate) fn record(self, kind: EventKind) {
        let (address, path) = (self.address, self.path);
        let [subject, client_id, session] =
            [self.subject, self.client_id, self.session].map(|text| text.map(observe::cut));
        log!({
            let (event, address) = (kind.name(), address.map(tracing::field::display));
            tracing::info!(target: "tower_oauth2_password::audit", event, subject, client_id, address, path, session);
        });
        measure!(metrics::counter!("oauth2_events_total", "event" => kind.name()).increment(1));
        if let Some(events) = self.events {
            let [subject, client_id, session_id] = [subject, client_id, session].map(|text| text.map(str::to_owned));
            let (at, path) = (SystemTime::now(), path.to_owned());
            events.send(Event { kind, at, subject, client_id, address, path, session_id });
        }
    }
}

type Handler = dyn Fn(Event) -> BoxFuture<'static, ()> + Send + Sync;

/// The way of events to the app: no answer waits for it.
#[derive(Clone)]
pub(crate) struct Events {
    handler: Arc<Handler>,
    queue: Arc<Mutex<Option<Sender<Event>>>>,
}

debug_only!(Events {});

impl Events {
    pub(crate) fn new(handler: impl Fn(Event) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self { handler: Arc::new(handler), queue: Arc::default() }
    }

    fn send(&self, event: Event) {
        let mut queue = lock(&self.queue);
        // The first event, or the runtime has ended that the last one was handled on.
        if queue.as_ref().is_none_or(Sender::is_closed)
            && let Ok(runtime) = Handle::try_current()
        {
            let (sender, events) = channel(QUEUE);
            runtime.spawn(handle(Arc::clone(&self.handler), events));
            *queue = Some(sender);
        }
        // What strangers can cause must not push out what they did.
        let kept_free = if event.kind.is_caused_by_anyone() { QUEUE / 2 } else { 0 };
        if queue.as_ref().is_none_or(|queue| queue.capacity() <= kept_free || queue.try_send(event).is_err()) {
            observe::event_dropped();
        }
    }
}

async fn handle(handler: Arc<Handler>, mut events: Receiver<Event>) {
    while let Some(event) = events.recv().await {
        // A panic is reported by the panic hook, and the next event may fare better.
        let _ = timeout_at(Instant::now() + LONGEST, unwind_guarded_future(async { handler(event).await })).await;
    }
}
