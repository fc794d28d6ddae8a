//! The faults during a run.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::task::block_in_place;

use crate::{dice::Dice, recorder::Recorder};
use test_support::{example::Example, redis::Redis, slow::Slow};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    RedisPaused,
    RedisKilled,
    RedisSlow,
    /// Some requests reach Redis too late for an abandoned call to take effect, and later requests overtake them.
    RequestsHeld,
    ServerPaused,
    ServerKilled,
}

pub const ALL: [Fault; 6] = [
    Fault::RedisPaused,
    Fault::RequestsHeld,
    Fault::ServerKilled,
    Fault::RedisSlow,
    Fault::RedisKilled,
    Fault::ServerPaused,
];

/// Two servers on one Redis. The second connects through a proxy that can be slow.
pub struct World {
    redis: Redis,
    pub slow: Slow,
    servers: [Example; 2],
}

impl World {
    pub async fn start() -> Self {
        let redis = Redis::durable();
        let slow = Slow::in_front_of(redis.port()).await;
        let servers = block_in_place(|| [server(&redis.url()), server(&proxied(&slow))]);
        Self { redis, slow, servers }
    }

    pub fn recorder(&self) -> Recorder {
        Recorder::new([self.servers[0].address, self.servers[1].address])
    }

    /// Causes one fault after another until the time is over. Returns how many of each there were.
    pub async fn suffer(&mut self, recorder: &Recorder, until: Instant) -> BTreeMap<Fault, usize> {
        let (mut dice, mut counts) = (Dice::new(), BTreeMap::new());
        for fault in ALL.iter().cycle() {
            pause(100 + dice.below(600)).await;
            if Instant::now() >= until {
                break;
            }
            *counts.entry(*fault).or_default() += 1;
            self.cause(*fault, recorder, &mut dice).await;
        }
        counts
    }

    async fn cause(&mut self, fault: Fault, recorder: &Recorder, dice: &mut Dice) {
        let number = dice.below(2) as usize;
        match fault {
            Fault::RedisPaused => {
                self.redis.pause();
                pause(20 + dice.below(900)).await;
                self.redis.resume();
            }
            Fault::RedisKilled => {
                self.redis.kill9();
                pause(dice.below(500)).await;
                block_in_place(|| self.redis.restart());
            }
            Fault::RedisSlow => {
                self.slow.set_round_trip(Duration::from_millis(50 + dice.below(900)));
                pause(1_000).await;
                self.slow.set_round_trip(Duration::ZERO);
            }
            Fault::RequestsHeld => {
                for _ in 0..6 {
                    self.slow.hold_one(dice.below(4) as u32, Duration::from_millis(3_000 + dice.below(1_000)));
                    pause(300).await;
                }
            }
            Fault::ServerPaused => {
                self.servers[number].signal("-STOP");
                pause(20 + dice.below(900)).await;
                self.servers[number].signal("-CONT");
            }
            Fault::ServerKilled => {
                self.servers[number].signal("-KILL");
                pause(dice.below(300)).await;
                let url = if number == 0 { self.redis.url() } else { proxied(&self.slow) };
                self.servers[number] = block_in_place(|| server(&url));
                *recorder.servers[number].write().unwrap() = self.servers[number].address;
            }
        }
    }
}

fn server(redis_url: &str) -> Example {
    let variables =
        [("JWT_SECRET", "0123456789abcdef0123456789abcdef"), ("REDIS_URL", redis_url), ("RUST_LOG", "error")];
    Example::start("server", &variables)
}

fn proxied(slow: &Slow) -> String {
    format!("redis://{}", slow.address)
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
