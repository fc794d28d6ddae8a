//! A TCP proxy that delays everything in both directions, and can lose what Redis publishes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Instant, sleep_until},
};

pub struct Slow {
    pub address: SocketAddr,
    delays: Arc<Delays>,
}

#[derive(Default)]
struct Delays {
    each_way_ms: AtomicU64,
    held_ms: AtomicU64,
    /// How many requests until the one to delay.
    until_held: AtomicI64,
    loses_messages: AtomicBool,
}

impl Slow {
    pub async fn in_front_of(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let delays = Arc::<Delays>::default();
        let shared = Arc::clone(&delays);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near_read, far_write, Arc::clone(&shared), true));
                tokio::spawn(carry(far_read, near_write, Arc::clone(&shared), false));
            }
        });
        Self { address, delays }
    }

    /// Adds half of the delay in each direction.
    pub fn set_round_trip(&self, delay: Duration) {
        self.delays.each_way_ms.store(delay.as_millis() as u64 / 2, Ordering::Relaxed);
    }

    /// Drops what Redis publishes, if nothing else is on its way, and passes on everything else.
    pub fn lose_messages(&self, loses: bool) {
        self.delays.loses_messages.store(loses, Ordering::Relaxed);
    }

    /// Delays one request, the one after `others` more, for `held`, and everything that follows it on its connection.
    pub fn hold_one(&self, others: u32, held: Duration) {
        self.delays.held_ms.store(held.as_millis() as u64, Ordering::Relaxed);
        self.delays.until_held.store(i64::from(others) + 1, Ordering::Relaxed);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delays: Arc<Delays>, requests: bool) {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, piece)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
    let mut piece = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        if piece.starts_with(b"*3\r\n$7\r\nmessage\r\n") && delays.loses_messages.load(Ordering::Relaxed) {
            continue;
        }
        let mut delay = delays.each_way_ms.load(Ordering::Relaxed);
        if requests && delays.until_held.fetch_sub(1, Ordering::Relaxed) == 1 {
            delay += delays.held_ms.load(Ordering::Relaxed);
        }
        let due = Instant::now() + Duration::from_millis(delay);
        if sender.send((due, piece[..count].to_vec())).is_err() {
            return;
        }
    }
}
