//! Events on their way to the app.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    future::pending,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, request::Parts};
use test_support::oneshot::post_form;
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BoxError, Client, Event, EventKind, Identity, Jwt, Key, Login, RefreshTokens,
    StaticClients, Verdict,
    store::{MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore},
};

const LOGIN: &str = "grant_type=password&username=alice&password=right";

fn server() -> AuthorizationServer {
    let verify = async |login: Login| -> Result<Verdict, BoxError> {
        Ok(if login.password.expose() == "right" { Identity::new(login.username).into() } else { Verdict::Denied })
    };
    AuthorizationServer::new(verify, Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api"))
}

async fn ask(auth: &AuthorizationServer, body: &str) -> u16 {
    post_form(auth.token_endpoint().into_service(), Request::post("/token"), body).await.0
}

#[tokio::test(start_paused = true)]
async fn events_reach_the_app_in_order_and_name_who_and_where() {
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let auth = server()
        .with_attempt_limits(AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| Some([192, 0, 2, 7].into())))
        .with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()))
        .with_clients(StaticClients::new([Client::confidential("web", "secret")]))
        .with_event_handler(move |event: Event| {
            sender.send(event).unwrap();
            async {}
        });
    ask(&auth, "grant_type=password&username=alice&password=wrong").await;
    assert_eq!(ask(&auth, LOGIN).await, 200);
    ask(&auth, "grant_type=password&username=alice&password=right&client_id=web&client_secret=wrong").await;
    let session = auth.sessions("alice").await.unwrap().remove(0).id;
    assert!(auth.end_session("alice", &session).await.unwrap());
    auth.revoke_subject("alice").await.unwrap();
    let denied = events.recv().await.unwrap();
    assert_eq!(
        (denied.kind, denied.subject.as_deref(), denied.path.as_str()),
        (EventKind::Denied, Some("alice"), "/token")
    );
    let login = events.recv().await.unwrap();
    assert_eq!((login.kind, login.session_id.as_deref()), (EventKind::Login, Some(session.as_str())));
    assert_eq!(login.address, Some(IpAddr::from([192, 0, 2, 7])));
    let client = events.recv().await.unwrap();
    assert_eq!((client.kind, client.client_id.as_deref()), (EventKind::ClientDenied, Some("web")));
    let ended = events.recv().await.unwrap();
    assert_eq!((ended.kind, ended.session_id.as_deref()), (EventKind::SessionEnded, Some(session.as_str())));
    let all = events.recv().await.unwrap();
    assert_eq!((all.kind, all.subject.as_deref(), all.session_id), (EventKind::SessionEnded, Some("alice"), None));
}

#[tokio::test]
async fn events_of_a_client_name_the_client_and_its_user() {
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let auth = server()
        .with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()))
        .with_deny_list(MemoryDenyList::new())
        .with_clients(StaticClients::new([Client::confidential("web", "secret")]))
        .with_event_handler(move |event: Event| {
            sender.send(event).unwrap();
            async {}
        });
    let credentials = "client_id=web&client_secret=secret";
    for kind in ["refresh_token", "access_token"] {
        let login = format!("{LOGIN}&{credentials}");
        let (_, _, login) = post_form(auth.token_endpoint().into_service(), Request::post("/token"), &login).await;
        let form = format!("token={}&{credentials}", login[kind].as_str().unwrap());
        let revoked = post_form(auth.revocation_endpoint().into_service(), Request::post("/revoke"), &form).await;
        assert_eq!(revoked.0, 200, "{kind}");
        let (login, revoked) = (events.recv().await.unwrap(), events.recv().await.unwrap());
        assert_eq!((login.kind, revoked.kind), (EventKind::Login, EventKind::Revoked), "{kind}");
        assert!(login.session_id.is_some() && revoked.session_id == login.session_id, "{kind}");
        for event in [login, revoked] {
            let named = (event.subject.as_deref(), event.client_id.as_deref());
            assert_eq!(named, (Some("alice"), Some("web")), "{kind}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_handler_that_hangs_or_panics_delays_no_answer_and_loses_only_what_is_too_much() {
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let auth = server().with_event_handler(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        assert_ne!(number, 1, "a bug of the app");
        async move {
            if number == 0 {
                pending::<()>().await;
            }
        }
    });
    let begun = tokio::time::Instant::now();
    for _ in 0..1_100 {
        assert_eq!(ask(&auth, LOGIN).await, 200);
        tokio::task::yield_now().await;
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "no login waited");
    assert_eq!(handled.load(Ordering::Relaxed), 1);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(handled.load(Ordering::Relaxed), 1 + 1_024, "the one that hung, and those in the queue");
    ask(&auth, LOGIN).await;
    tokio::task::yield_now().await;
    assert_eq!(handled.load(Ordering::Relaxed), 2 + 1_024, "it goes on");
}

#[test]
fn events_are_handled_on_the_next_runtime_when_the_first_has_ended() {
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let auth = server().with_event_handler(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async {}
    });
    for expected in 1..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            ask(&auth, LOGIN).await;
            tokio::task::yield_now().await;
        });
        assert_eq!(handled.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_strangers_cause_does_not_push_out_what_users_did() {
    let logins = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&logins);
    let auth = server().with_event_handler(move |event| {
        count.fetch_add(usize::from(event.kind == EventKind::Login), Ordering::Relaxed);
        assert!(event.subject.unwrap().len() <= 128);
        tokio::time::sleep(Duration::from_millis(1))
    });
    let long = "x".repeat(1_000);
    for _ in 0..2_000 {
        ask(&auth, &format!("grant_type=password&username={long}&password=wrong")).await;
    }
    assert_eq!(ask(&auth, LOGIN).await, 200);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(logins.load(Ordering::Relaxed), 1);
}
