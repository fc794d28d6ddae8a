//! Clients that use, misuse and revoke refresh tokens of a few families at once, and note what they were answered.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Mutex, RwLock},
    time::{Duration, Instant},
};

use http_body_util::{Either, Full};
use hyper::Request;

use crate::{
    checker::{Answer, Asked, Operation},
    dice::Dice,
    support::http::{Http, Reply, try_send},
};

const FAMILIES_AT_ONCE: usize = 12;
/// A family is left alone, and another begun, after so many operations, or refusals or unknown outcomes among them: the
/// search for an explanation must stay small.
const MOST_OPERATIONS: usize = 40;
const MOST_REFUSED: usize = 6;
const MOST_UNKNOWN: usize = 8;
/// No server takes so long, whatever fails.
const NO_ANSWER: Duration = Duration::from_secs(15);

#[derive(Default)]
struct Family {
    tokens: Vec<(usize, String)>,
    history: Vec<Operation>,
    under_way: usize,
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
        let (place, token) = if dice.one_in(8) { dice.pick(&self.tokens) } else { newest };
        (if dice.one_in(25) { Asked::Revoke(*place) } else { Asked::Refresh(*place) }, token.clone())
    }
}

#[derive(Default)]
struct Record {
    families: Vec<Family>,
    slots: [Option<usize>; FAMILIES_AT_ONCE],
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

    /// One client.
    pub async fn work(&self, until: Instant) {
        let mut dice = Dice::new();
        while Instant::now() < until {
            let slot = dice.below(FAMILIES_AT_ONCE as u64) as usize;
            match self.next(slot, &mut dice) {
                Some((family, asked, token)) => self.ask(family, asked, &token, &mut dice).await,
                None => self.log_in(slot, &mut dice).await,
            }
            tokio::time::sleep(Duration::from_millis(dice.below(20))).await;
        }
    }

    fn next(&self, slot: usize, dice: &mut Dice) -> Option<(usize, Asked, String)> {
        let mut record = self.record.lock().unwrap();
        let number = record.slots[slot]?;
        let family = &mut record.families[number];
        if family.is_finished() {
            return None;
        }
        family.under_way += 1;
        let (asked, token) = family.choose(dice);
        Some((number, asked, token))
    }

    async fn log_in(&self, slot: usize, dice: &mut Dice) {
        let user =
            if dice.one_in(2) { "username=alice&password=wonderland123" } else { "username=bob&password=builder456" };
        let reply = self.post("/token", &format!("grant_type=password&{user}"), NO_ANSWER, dice).await;
        let mut record = self.record.lock().unwrap();
        let Some(reply) = reply.filter(|reply| reply.status == 200) else {
            record.failed_logins += 1;
            return;
        };
        record.logins += 1;
        let token = reply.text("refresh_token");
        record.take(&token);
        record.families.push(Family { tokens: vec![(0, token)], ..Family::default() });
        record.slots[slot] = Some(record.families.len() - 1);
    }

    async fn ask(&self, number: usize, asked: Asked, token: &str, dice: &mut Dice) {
        // Some clients do not wait for the answer.
        let patience = if dice.one_in(20) { Duration::from_millis(dice.below(12)) } else { NO_ANSWER };
        let begun = self.start.elapsed().as_micros() as u64;
        let reply = match asked {
            Asked::Refresh(_) => {
                let form = format!("grant_type=refresh_token&refresh_token={token}");
                self.post("/token", &form, patience, dice).await
            }
            Asked::Revoke(_) => self.post("/revoke", &format!("token={token}"), patience, dice).await,
        };
        let ended = self.start.elapsed().as_micros() as u64;
        assert!(ended - begun < NO_ANSWER.as_micros() as u64, "no answer within {NO_ANSWER:?}");
        let answer = match reply.as_ref().map(|reply| reply.status) {
            Some(200) => Answer::Done,
            Some(400) => Answer::Refused,
            Some(503) | None => Answer::Unknown,
            Some(_) => panic!("{asked:?}: {reply:?}"),
        };
        let mut record = self.record.lock().unwrap();
        let successor = match (asked, answer) {
            (Asked::Refresh(place), Answer::Done) => Some((place + 1, reply.unwrap().text("refresh_token"))),
            (_, Answer::Refused) => {
                assert_eq!(reply.unwrap().text("error"), "invalid_grant");
                None
            }
            _ => None,
        };
        if let Some((_, token)) = &successor {
            record.take(token);
        }
        let family = &mut record.families[number];
        family.tokens.extend(successor);
        family.under_way -= 1;
        family.history.push(Operation { asked, answer, begun, ended });
    }

    /// Nothing if the connection broke or the patience ended.
    async fn post(&self, path: &str, form: &str, patience: Duration, dice: &mut Dice) -> Option<Reply> {
        let address = *dice.pick(&self.servers).read().unwrap();
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Either::Left(Full::from(form.to_owned())))
            .unwrap();
        tokio::time::timeout(patience, try_send(address, Http::One, request)).await.ok()?.ok()
    }
}
