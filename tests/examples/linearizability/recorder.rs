//! Clients that use, misuse and revoke refresh tokens of a few families at once, and record the replies.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Mutex, RwLock},
    time::{Duration, Instant},
};

use http_body_util::{Either, Full};
use hyper::Request;

use crate::{
    checker::{Answer, Asked, LATEST_EFFECT, Operation},
    dice::Dice,
};
use test_support::http::{Http, Reply, try_send};

const FAMILIES_AT_ONCE: usize = 60;
/// After this many operations, refusals or unknown outcomes, the clients leave a family alone and begin another, so
/// that the search for an explanation stays small.
const MOST_OPERATIONS: usize = 40;
const MOST_REFUSED: usize = 6;
const MOST_UNKNOWN: usize = 8;
/// Longer than any server takes, whatever fails.
pub const NO_ANSWER: Duration = Duration::from_secs(15);

#[derive(Default)]
struct Family {
    tokens: Vec<(usize, String)>,
    history: Vec<Operation>,
    under_way: usize,
    rests_until: Option<Instant>,
}

enum Next {
    /// With a token of the family before, if nothing is under way there.
    LogIn(Option<String>),
    Ask(usize, Asked, String),
    Rest,
}

impl Family {
    fn count(&self, answer: Answer) -> usize {
        self.history.iter().filter(|operation| operation.answer == answer).count()
    }

    fn is_finished(&self) -> bool {
        self.history.len() + self.under_way >= MOST_OPERATIONS
            || self.count(Answer::Refused) >= MOST_REFUSED
            || self.count(Answer::Unknown) >= MOST_UNKNOWN
    }

    fn choose(&self, dice: &mut Dice) -> (Asked, String) {
        let newest = self.tokens.iter().max_by_key(|(place, _)| *place).unwrap();
        let (place, token) = if dice.one_in(12) { dice.pick(&self.tokens) } else { newest };
        (if dice.one_in(16) { Asked::Revoke(*place) } else { Asked::Refresh(*place) }, token.clone())
    }
}

#[derive(Default)]
struct Record {
    families: Vec<Family>,
    slots: HashMap<usize, usize>,
    logins: usize,
    failed_logins: usize,
    given: HashSet<String>,
}

impl Record {
    fn take(&mut self, token: &str) {
        assert!(self.given.insert(token.to_owned()), "a token was handed out twice");
    }
}

pub struct Recorder {
    pub servers: [RwLock<SocketAddr>; 2],
    start: Instant,
    record: Mutex<Record>,
}

pub struct Recorded {
    pub histories: Vec<Vec<Operation>>,
    pub logins: usize,
    pub failed_logins: usize,
}

impl Recorder {
    pub fn new(servers: [SocketAddr; 2]) -> Self {
        Self { servers: servers.map(RwLock::new), start: Instant::now(), record: Mutex::default() }
    }

    pub fn into_recorded(self) -> Recorded {
        let Record { families, logins, failed_logins, .. } = self.record.into_inner().unwrap();
        Recorded { histories: families.into_iter().map(|family| family.history).collect(), logins, failed_logins }
    }

    /// Runs one client.
    pub async fn work(&self, until: Instant) {
        let mut dice = Dice::new();
        while Instant::now() < until {
            let slot = dice.below(FAMILIES_AT_ONCE as u64) as usize;
            let pause = match self.next(slot, &mut dice) {
                Next::Ask(family, asked, token) => {
                    self.ask(family, asked, &token, &mut dice).await;
                    20
                }
                Next::LogIn(finished) => {
                    if let Some(token) = finished {
                        // Unused sessions beyond a hundred would push out those that are in use.
                        self.post(0, "/revoke", &format!("token={token}"), NO_ANSWER).await;
                    }
                    if self.log_in(slot, &mut dice).await { 20 } else { 200 }
                }
                Next::Rest => 10,
            };
            tokio::time::sleep(Duration::from_millis(dice.below(pause))).await;
        }
    }

    fn next(&self, slot: usize, dice: &mut Dice) -> Next {
        let mut record = self.record.lock().unwrap();
        let Some(number) = record.slots.get(&slot).copied() else { return Next::LogIn(None) };
        let family = &mut record.families[number];
        if family.is_finished() {
            let newest = family.tokens.iter().max_by_key(|(place, _)| *place);
            return Next::LogIn(newest.filter(|_| family.under_way == 0).map(|(_, token)| token.clone()));
        }
        if family.rests_until.is_some_and(|until| Instant::now() < until) {
            return Next::Rest;
        }
        family.under_way += 1;
        let (asked, token) = family.choose(dice);
        Next::Ask(number, asked, token)
    }

    /// Returns whether the login succeeded.
    async fn log_in(&self, slot: usize, dice: &mut Dice) -> bool {
        let token = self.first_token(dice.below(2) as usize, dice.one_in(2)).await;
        let mut record = self.record.lock().unwrap();
        let Some(token) = token else {
            record.failed_logins += 1;
            return false;
        };
        record.logins += 1;
        record.take(&token);
        record.families.push(Family { tokens: vec![(0, token)], ..Family::default() });
        let number = record.families.len() - 1;
        record.slots.insert(slot, number);
        true
    }

    /// The refresh token of a login, if it succeeded.
    pub async fn first_token(&self, server: usize, alice: bool) -> Option<String> {
        let user = if alice { "username=alice&password=wonderland123" } else { "username=bob&password=builder456" };
        let reply = self.post(server, "/token", &format!("grant_type=password&{user}"), NO_ANSWER).await?;
        (reply.status == 200).then(|| reply.text("refresh_token"))
    }

    async fn ask(&self, number: usize, asked: Asked, token: &str, dice: &mut Dice) {
        // Some clients do not wait for the reply.
        let patience = if dice.one_in(20) { Duration::from_millis(dice.below(12)) } else { NO_ANSWER };
        let (operation, successor) = self.operate(dice.below(2) as usize, asked, token, patience).await;
        let mut record = self.record.lock().unwrap();
        if let Some((_, token)) = &successor {
            record.take(token);
        }
        let family = &mut record.families[number];
        family.tokens.extend(successor);
        family.under_way -= 1;
        // Rests the family until the call can no longer take effect. Its next use then shows any later effect.
        if operation.answer == Answer::Unknown && dice.one_in(2) {
            family.rests_until = Some(Instant::now() + Duration::from_micros(LATEST_EFFECT));
        }
        family.history.push(operation);
    }

    /// Runs one operation. Returns it with the token that it gave and the position of that token.
    pub async fn operate(
        &self,
        server: usize,
        asked: Asked,
        token: &str,
        patience: Duration,
    ) -> (Operation, Option<(usize, String)>) {
        let begun = self.start.elapsed().as_micros() as u64;
        let reply = match asked {
            Asked::Refresh(_) => {
                let form = format!("grant_type=refresh_token&refresh_token={token}");
                self.post(server, "/token", &form, patience).await
            }
            Asked::Revoke(_) => self.post(server, "/revoke", &format!("token={token}"), patience).await,
        };
        let ended = self.start.elapsed().as_micros() as u64;
        assert!(ended - begun < NO_ANSWER.as_micros() as u64, "no answer within {NO_ANSWER:?}");
        let answer = match &reply {
            Some(reply) if reply.status == 200 => Answer::Done,
            Some(reply) if reply.status == 400 && reply.text("error") == "invalid_grant" => Answer::Refused,
            None => Answer::Unknown,
            Some(reply) if reply.status == 503 => Answer::Unknown,
            Some(reply) => panic!("{asked:?}: {reply:?}"),
        };
        let successor = match (asked, reply) {
            (Asked::Refresh(place), Some(reply)) if reply.status == 200 => {
                Some((place + 1, reply.text("refresh_token")))
            }
            _ => None,
        };
        (Operation { asked, answer, begun, ended }, successor)
    }

    /// `None` if the connection broke or `patience` ran out.
    async fn post(&self, server: usize, path: &str, form: &str, patience: Duration) -> Option<Reply> {
        let address = *self.servers[server].read().unwrap();
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Either::Left(Full::from(form.to_owned())))
            .unwrap();
        tokio::time::timeout(patience, try_send(address, Http::One, request)).await.ok()?.ok()
    }
}
