//! A family of refresh tokens, as its client sees it.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::{StreamExt, stream};

use crate::neighbour;
use test_support::client::{ALICE, refresh_form, try_post};

const NETWORK: u8 = 4;

pub struct Family {
    pub current: String,
    previous: Option<String>,
    /// Whether the last use may have succeeded although the client got no confirmation.
    pub doubtful: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Rotated,
    Refused,
    Unavailable,
    Unanswered,
}

impl Family {
    /// Logs in, and tries again while the server is overloaded.
    pub async fn begin(server: SocketAddr, number: usize) -> Self {
        loop {
            let reply = try_post(server, neighbour(NETWORK, number), "/token", ALICE).await.unwrap();
            match reply.status {
                200 => return Self { current: reply.text("refresh_token"), previous: None, doubtful: false },
                503 => {}
                _ => panic!("{reply:?}"),
            }
        }
    }

    pub async fn begin_many(server: SocketAddr, count: usize) -> Vec<Self> {
        stream::iter(0..count).map(|number| Self::begin(server, number)).buffer_unordered(4).collect().await
    }

    /// Uses the current token.
    pub async fn step(&mut self, server: SocketAddr) -> Step {
        let Ok(reply) = try_post(server, Ipv4Addr::LOCALHOST, "/token", &refresh_form(&self.current)).await else {
            self.doubtful = true;
            return Step::Unanswered;
        };
        match reply.status {
            200 => {
                let next = reply.text("refresh_token");
                self.previous = Some(std::mem::replace(&mut self.current, next));
                self.doubtful = false;
                Step::Rotated
            }
            400 => {
                assert_eq!(reply.text("error"), "invalid_grant");
                Step::Refused
            }
            503 => {
                assert_eq!(reply.text("error"), "temporarily_unavailable");
                assert!(reply.header("retry-after").is_some(), "{reply:?}");
                Step::Unavailable
            }
            _ => panic!("{reply:?}"),
        }
    }

    /// The token before the current one is not accepted again, and its use ends the family.
    pub async fn assert_used_once(&self, server: SocketAddr) {
        let Some(previous) = &self.previous else { return };
        for (token, what) in [(previous, "accepted twice"), (&self.current, "the family did not end with a replay")] {
            let reply = try_post(server, Ipv4Addr::LOCALHOST, "/token", &refresh_form(token)).await.unwrap();
            assert_eq!(reply.status, 400, "{what}: {reply:?}");
        }
    }
}
