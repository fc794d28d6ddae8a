//! A model of refresh tokens: families as plain lists, without secrets, stores or HTTP.

use std::collections::HashMap;

pub const USERS: usize = 3;

/// The text of a scope that is given as bits.
pub fn text(scope: u8) -> String {
    let tokens = [(0b001, "read"), (0b010, "write"), (0b100, "admin")];
    tokens.iter().filter(|(bit, _)| scope & bit != 0).map(|(_, token)| *token).collect::<Vec<_>>().join(" ")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Times {
    pub absolute: u64,
    pub idle: u64,
    pub grace: Option<u64>,
}

#[derive(Clone, Debug)]
pub enum Step {
    LogIn { user: usize, asked: Option<u8> },
    Refresh { token: Which, asked: Option<u8> },
    Revoke { token: Which },
    RevokeSubject { user: usize },
    Advance { millis: u64 },
    Welcome { user: usize, welcome: bool },
    Allow { user: usize, allowed: u8 },
    ChangePassword { user: usize },
}

/// Selects one of the tokens known so far. The number chooses it and wraps around.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    Current(u8),
    Previous(u8),
    Any(u8),
    /// The name of a family with a secret that the family never had.
    Forged(u8),
    OfNoFamily(u8),
}

/// A token, given by its family and its position in the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId {
    pub family: usize,
    pub place: usize,
}

const FORGED: usize = usize::MAX;

#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    Tokens { user: usize, scope: u8 },
    InvalidGrant,
    InvalidScope,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct User {
    pub welcome: bool,
    pub allowed: u8,
    pub stamp: u32,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Family {
    user: usize,
    scope: u8,
    stamp: u32,
    current: usize,
    begun: u64,
    used: u64,
    revoked: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Model {
    pub now: u64,
    pub users: [User; USERS],
    times: Times,
    families: Vec<Family>,
}

impl Model {
    pub fn new(times: Times) -> Self {
        Self { now: 0, users: [User { welcome: true, allowed: 0b111, stamp: 0 }; USERS], times, families: Vec::new() }
    }

    fn alive(&self, family: &Family) -> bool {
        let over = self.now >= family.begun + self.times.absolute || self.now >= family.used + self.times.idle;
        !over && !family.revoked
    }

    pub fn log_in(&mut self, user: usize, asked: Option<u8>) -> (Due, Option<TokenId>) {
        let User { welcome, allowed, stamp } = self.users[user];
        if !welcome {
            return (Due::InvalidGrant, None);
        }
        let scope = match asked {
            None | Some(0) => allowed,
            Some(asked) if asked & !allowed == 0 => asked,
            Some(_) => return (Due::InvalidScope, None),
        };
        let now = self.now;
        self.families.push(Family { user, scope, stamp, current: 0, begun: now, used: now, revoked: false });
        (Due::Tokens { user, scope }, Some(TokenId { family: self.families.len() - 1, place: 0 }))
    }

    pub fn refresh(&mut self, token: Option<TokenId>, asked: Option<u8>) -> (Due, Option<TokenId>) {
        let Some(token) = token else { return (Due::InvalidGrant, None) };
        if !self.alive(&self.families[token.family]) {
            return (Due::InvalidGrant, None);
        }
        let now = self.now;
        let family = &mut self.families[token.family];
        let user = self.users[family.user];
        let repeats = token.place != FORGED
            && token.place + 1 == family.current
            && self.times.grace.is_some_and(|grace| now - family.used <= grace);
        if token.place != family.current && !repeats {
            family.revoked = true;
            return (Due::InvalidGrant, None);
        }
        if !user.welcome {
            return (Due::InvalidGrant, None);
        }
        if user.stamp != family.stamp {
            family.revoked = true;
            return (Due::InvalidGrant, None);
        }
        let most = family.scope & user.allowed;
        let scope = match asked {
            None | Some(0) => most,
            Some(asked) if asked & !most == 0 => asked,
            Some(_) => return (Due::InvalidScope, None),
        };
        if !repeats {
            family.current += 1;
            family.used = now;
        }
        (Due::Tokens { user: family.user, scope }, Some(TokenId { place: family.current, ..token }))
    }

    pub fn revoke(&mut self, token: Option<TokenId>) {
        if let Some(token) = token {
            self.families[token.family].revoked = true;
        }
    }

    pub fn revoke_subject(&mut self, user: usize) -> u64 {
        let ended: Vec<_> = (0..self.families.len())
            .filter(|&n| self.families[n].user == user && self.alive(&self.families[n]))
            .collect();
        for &n in &ended {
            self.families[n].revoked = true;
        }
        ended.len() as u64
    }
}

/// The tokens as the server issued them.
#[derive(Default)]
pub struct Names {
    families: Vec<Vec<String>>,
    known: HashMap<String, TokenId>,
}

impl Names {
    /// Records a token. Returns whether it is new.
    pub fn give(&mut self, id: TokenId, text: String) -> bool {
        if id.place == 0 {
            self.families.push(Vec::new());
        }
        self.families[id.family].push(text.clone());
        self.known.insert(text, id).is_none()
    }

    pub fn text(&self, id: TokenId) -> Option<&String> {
        self.families[id.family].get(id.place)
    }

    /// The selected token and its id in the model. `None` if there is no family yet.
    pub fn pick(&self, which: Which) -> Option<(Option<TokenId>, String)> {
        let number = match which {
            Which::Current(n) | Which::Previous(n) | Which::Any(n) | Which::Forged(n) | Which::OfNoFamily(n) => n,
        };
        let family = usize::from(number) % self.families.len().max(1);
        let tokens = self.families.get(family)?;
        let place = match which {
            Which::Current(_) | Which::Forged(_) | Which::OfNoFamily(_) => tokens.len() - 1,
            Which::Previous(_) => tokens.len().saturating_sub(2),
            Which::Any(n) => usize::from(n) / self.families.len() % tokens.len(),
        };
        let text = tokens[place].clone();
        // Of the 64 characters, the first 21 hold only the family's name, the last 42 only the secret.
        Some(match which {
            Which::Forged(_) => {
                (Some(TokenId { family, place: FORGED }), format!("{}{}", &text[..48], turned(&text[48..])))
            }
            Which::OfNoFamily(_) => (None, format!("{}{}", turned(&text[..16]), &text[16..])),
            _ => (Some(TokenId { family, place }), text),
        })
    }
}

/// Different text in the same alphabet.
fn turned(text: &str) -> String {
    text.chars().map(|c| if c == 'A' { 'B' } else { 'A' }).collect()
}
