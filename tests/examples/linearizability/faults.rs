//! The faults during a run.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::task::block_in_place;

use crate::{dice::Dice, recorder::Recorder};
use test_support::{
    client::{SECRET, request},
    example::Example,
    postgres::Postgres,
    redis::Redis,
    slow::Slow,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    StorePaused,
    StoreStopped,
    StoreSlow,
    /// Some requests reach the store too late for an abandoned call to take effect, and later requests overtake them.
    RequestsHeld,
    ServerPaused,
    ServerKilled,
}

pub const ALL: [Fault; 6] = [
    Fault::StorePaused,
    Fault::RequestsHeld,
    Fault::ServerKilled,
    Fault::StoreSlow,
    Fault::StoreStopped,
    Fault::ServerPaused,
];

/// What the servers share.
enum Store {
    Redis(Redis),
    Postgres(Postgres),
}

impl Store {
    /// Starts a server that keeps its sessions here, or behind this proxy.
    fn serve(&self, proxy: Option<&Slow>) -> Example {
        let (example, variable, url) = match self {
            Self::Redis(redis) => ("server", "REDIS_URL", redis.url()),
            Self::Postgres(postgres) => ("sqlite", "DATABASE_URL", postgres.url()),
        };
        let url = proxy.map_or_else(
            || url.clone(),
            |slow| url.replace(&format!("127.0.0.1:{}", self.port()), &slow.address.to_string()),
        );
        Example::start(example, &[SECRET, (variable, &url), ("RUST_LOG", "error")])
    }

    fn port(&self) -> u16 {
        match self {
            Self::Redis(redis) => redis.port(),
            Self::Postgres(postgres) => postgres.port(),
        }
    }

    fn pause(&self) {
        match self {
            Self::Redis(redis) => redis.pause(),
            Self::Postgres(postgres) => postgres.pause(),
        }
    }

    fn resume(&self) {
        match self {
            Self::Redis(redis) => redis.resume(),
            Self::Postgres(postgres) => postgres.resume(),
        }
    }

    fn stop(&mut self) {
        match self {
            Self::Redis(redis) => redis.kill9(),
            Self::Postgres(postgres) => postgres.stop(),
        }
    }

    fn restart(&mut self) {
        match self {
            Self::Redis(redis) => redis.restart(),
            Self::Postgres(postgres) => postgres.restart(),
        }
    }
}

/// Two servers on one store. The second connects through a proxy that can be slow.
pub struct World {
    store: Store,
    pub slow: Slow,
    servers: [Example; 2],
}

impl World {
    pub async fn on_redis() -> Self {
        Self::on(Store::Redis(block_in_place(Redis::durable))).await
    }

    pub async fn on_postgres() -> Self {
        let world = Self::on(Store::Postgres(block_in_place(Postgres::start))).await;
        for body in
            [r#"{"username":"alice","password":"wonderland123"}"#, r#"{"username":"bob","password":"builder456"}"#]
        {
            let reply =
                request(&world.servers[0], "POST", "/users", &[("content-type", "application/json")], body).await;
            assert_eq!(reply.status, 201, "{reply:?}");
        }
        world
    }

    async fn on(store: Store) -> Self {
        let slow = Slow::in_front_of(store.port()).await;
        let servers = block_in_place(|| [store.serve(None), store.serve(Some(&slow))]);
        Self { store, slow, servers }
    }

    pub fn recorder(&self) -> Recorder {
        let guarded = match self.store {
            Store::Redis(_) => "/users/me",
            Store::Postgres(_) => "/",
        };
        Recorder::new([self.servers[0].address, self.servers[1].address], guarded)
    }

    /// Causes one fault after another until the time is over and there was one of each. Returns how many there were.
    pub async fn suffer(&mut self, recorder: &Recorder, until: Instant) -> BTreeMap<Fault, usize> {
        let (mut dice, mut counts) = (Dice::new(), BTreeMap::new());
        for fault in ALL.iter().cycle() {
            pause(100 + dice.below(600)).await;
            if Instant::now() >= until && counts.len() == ALL.len() {
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
            Fault::StorePaused => {
                self.store.pause();
                pause(20 + dice.below(900)).await;
                self.store.resume();
            }
            Fault::StoreStopped => {
                self.store.stop();
                pause(dice.below(500)).await;
                block_in_place(|| self.store.restart());
            }
            Fault::StoreSlow => {
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
                let proxy = (number == 1).then_some(&self.slow);
                self.servers[number] = block_in_place(|| self.store.serve(proxy));
                *recorder.servers[number].write().unwrap() = self.servers[number].address;
            }
        }
    }
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
