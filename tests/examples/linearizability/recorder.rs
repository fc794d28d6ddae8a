//! Clients that use, misuse and revoke the tokens of a few families at once, and record the replies.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Mutex, OnceLock, RwLock},
    time::{Duration, Instant},
};

use http_body_util::{Either, Full};
use hyper::Request;

use crate::{
    access::{Event, Moment},
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
const ACCESS_TOKENS_AT_ONCE: usize = 20;
/// After this many uses, or these of them that were refused, another takes its place.
const MOST_USES: usize = 20;
const MOST_REFUSED_USES: usize = 5;
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
    UseAccess(usize, String),
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
    /// Access tokens and what happened to them.
    access: Vec<(String, Vec<Moment>)>,
    access_in_use: Vec<usize>,
}

impl Record {
    fn take(&mut self, token: &str) {
        assert!(self.given.insert(token.to_owned()), "a token was handed out twice");
    }

    fn take_access(&mut self, token: String) {
        let Self { access, access_in_use, .. } = self;
        access_in_use.retain(|number| {
            let history = &access[*number].1;
            let refused = history.iter().filter(|moment| moment.event == Event::Refused).count();
            history.len() < MOST_USES && refused < MOST_REFUSED_USES
        });
        if access_in_use.len() < ACCESS_TOKENS_AT_ONCE {
            access_in_use.push(access.len());
            access.push((token, Vec::new()));
        }
    }
}

pub struct Recorder {
    pub servers: [RwLock<SocketAddr>; 2],
    /// A path that refuses invalid access tokens and does not need the store.
    guarded: &'static str,
    pub start: Instant,
    /// When the clients stop.
    pub end: OnceLock<Instant>,
    record: Mutex<Record>,
}

pub struct Recorded {
    pub histories: Vec<Vec<Operation>>,
    pub access: Vec<Vec<Moment>>,
    pub logins: usize,
    pub failed_logins: usize,
}

impl Recorder {
    pub fn new(servers: [SocketAddr; 2], guarded: &'static str) -> Self {
        Self {
            servers: servers.map(RwLock::new),
            guarded,
            start: Instant::now(),
            end: OnceLock::new(),
            record: Mutex::default(),
        }
    }

    pub fn into_recorded(self) -> Recorded {
        let Record { families, access, logins, failed_logins, .. } = self.record.into_inner().unwrap();
        let histories = families.into_iter().map(|family| family.history).collect();
        let access = access.into_iter().map(|(_, history)| history).collect();
        Recorded { histories, access, logins, failed_logins }
    }

    /// Runs one client.
    pub async fn work(&self) {
        let mut dice = Dice::new();
        while self.end.get().is_none_or(|end| Instant::now() < *end) {
            let slot = dice.below(FAMILIES_AT_ONCE as u64) as usize;
            let pause = match self.next(slot, &mut dice) {
                Next::Ask(family, asked, token) => {
                    self.ask(family, asked, &token, &mut dice).await;
                    20
                }
                Next::UseAccess(number, token) => {
                    self.use_access(number, &token, &mut dice).await;
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
        if dice.one_in(3) && !record.access_in_use.is_empty() {
            let number = *dice.pick(&record.access_in_use);
            return Next::UseAccess(number, record.access[number].0.clone());
        }
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
        let tokens = self.first_tokens(dice.below(2) as usize, dice.one_in(2)).await;
        let mut record = self.record.lock().unwrap();
        let Some((access, token)) = tokens else {
            record.failed_logins += 1;
            return false;
        };
        record.logins += 1;
        record.take_access(access);
        record.take(&token);
        record.families.push(Family { tokens: vec![(0, token)], ..Family::default() });
        let number = record.families.len() - 1;
        record.slots.insert(slot, number);
        true
    }

    /// The access token and the refresh token of a login, if it succeeded.
    pub async fn first_tokens(&self, server: usize, alice: bool) -> Option<(String, String)> {
        let user = if alice { "username=alice&password=wonderland123" } else { "username=bob&password=builder456" };
        let reply = self.post(server, "/token", &format!("grant_type=password&{user}"), NO_ANSWER).await?;
        (reply.status == 200).then(|| (reply.text("access_token"), reply.text("refresh_token")))
    }

    /// Uses or revokes an access token.
    async fn use_access(&self, number: usize, token: &str, dice: &mut Dice) {
        let process = *self.servers[dice.below(2) as usize].read().unwrap();
        let begun = self.start.elapsed().as_micros() as u64;
        let event = if dice.one_in(8) {
            let reply = Self::send(process, "/revoke", None, &format!("token={token}"), NO_ANSWER).await;
            reply.filter(|reply| reply.status == 200).map(|_| Event::Revoked)
        } else {
            match Self::send(process, self.guarded, Some(token), "", NO_ANSWER).await {
                Some(reply) if reply.status == 200 => Some(Event::Accepted),
                Some(reply) if reply.status == 401 => Some(Event::Refused),
                None => None,
                Some(reply) => panic!("{}: {reply:?}", self.guarded),
            }
        };
        let ended = self.start.elapsed().as_micros() as u64;
        let moment = event.map(|event| Moment { event, process, begun, ended });
        self.record.lock().unwrap().access[number].1.extend(moment);
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
        let process = *self.servers[server].read().unwrap();
        Self::send(process, path, None, form, patience).await
    }

    /// Posts a form, or gets a page with an access token.
    async fn send(
        process: SocketAddr,
        path: &str,
        access: Option<&str>,
        form: &str,
        patience: Duration,
    ) -> Option<Reply> {
        let request = match access {
            Some(token) => Request::get(path).header("authorization", format!("Bearer {token}")),
            None => Request::post(path).header("content-type", "application/x-www-form-urlencoded"),
        };
        let request = request.body(Either::Left(Full::from(form.to_owned()))).unwrap();
        tokio::time::timeout(patience, try_send(process, Http::One, request)).await.ok()?.ok()
    }
}
