//! A few threads that hash passwords, each with memory of its own that it keeps.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use argon2::Block;

use super::{
    argon::{self, Argon2Params, StoredHash},
    oneshot,
};
use crate::{Secret, VerifyError, timer};

/// How long a refusal is held, so that clients that come back at once do not take the cores from the hashes.
const REFUSAL_HELD: Duration = Duration::from_millis(250);
/// How many refusals are held at once; more are told at once.
const MOST_HELD: u64 = 4_096;
/// What one KiB filled is guessed to take before the first hash was timed.
const FIRST_GUESS_NANOS: f64 = 500.0;

type Job = Box<dyn FnOnce(&mut Vec<Block>) + Send>;

struct Queued {
    job: Job,
    is_abandoned: Box<dyn Fn() -> bool + Send>,
    work: u64,
    address: Option<IpAddr>,
}

/// Hashes passwords on own threads, as many as cores, with a bound on the expected wait. Cheap to clone; clones share
/// the threads, which start at the first use.
///
/// Memory is threads × the cost of a hash, whatever the load. A job that would wait longer than the limit (1 s unless
/// set) is refused with [`VerifyError::Overloaded`]; so is one of an address that already holds a quarter of the queue
/// while others wait, too. A job whose caller has gone is skipped.
#[derive(Clone)]
pub struct HashingPool {
    settings: Settings,
    shared: Arc<OnceLock<Arc<Shared>>>,
}

#[derive(Clone, Copy)]
struct Settings {
    threads: usize,
    queue_wait: Duration,
    params: Argon2Params,
}

struct Shared {
    settings: Settings,
    queue: Mutex<Queue>,
    changed: Condvar,
    held: AtomicU64,
    hashed: AtomicU64,
    skipped: AtomicU64,
    shed: AtomicU64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Queued>,
    work: u64,
    work_of: HashMap<Option<IpAddr>, u64>,
    nanos_per_work: Option<f64>,
    closed: bool,
}

/// What a pool has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Hashes that were computed.
    pub hashed: u64,
    /// Jobs that were dropped since their caller had gone.
    pub skipped: u64,
    /// Jobs that were refused since there was no room.
    pub shed: u64,
    /// Jobs that wait now.
    pub queued: usize,
}

impl Default for HashingPool {
    fn default() -> Self {
        Self::new()
    }
}

impl HashingPool {
    /// As many threads as cores, a wait of at most one second, OWASP's parameters for new hashes.
    #[must_use]
    pub fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let settings = Settings { threads, queue_wait: Duration::from_secs(1), params: Argon2Params::default() };
        Self { settings, shared: Arc::default() }
    }

    /// The pool that verifiers share unless given another.
    pub(super) fn process_wide() -> Self {
        static POOL: OnceLock<HashingPool> = OnceLock::new();
        POOL.get_or_init(HashingPool::new).clone()
    }

    fn edit(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self.shared = Arc::default();
        self
    }

    /// How many threads hash, at least one. More than cores are slower.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        self.edit(|settings| settings.threads = threads.max(1))
    }

    /// The longest expected wait at which a job is still taken.
    #[must_use]
    pub fn with_queue_wait(self, wait: Duration) -> Self {
        self.edit(|settings| settings.queue_wait = wait)
    }

    /// The cost of new hashes, and of attempts that have no hash to check.
    #[must_use]
    pub fn with_params(self, params: Argon2Params) -> Self {
        self.edit(|settings| settings.params = params)
    }

    /// What the pool has done so far.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.shared.get().map_or_else(PoolStats::default, |shared| PoolStats {
            hashed: shared.hashed.load(Ordering::Relaxed),
            skipped: shared.skipped.load(Ordering::Relaxed),
            shed: shared.shed.load(Ordering::Relaxed),
            queued: shared.lock().jobs.len(),
        })
    }

    /// Hashes a new password, as for sign-up: a PHC string.
    ///
    /// # Errors
    /// [`VerifyError::Overloaded`] when there is no room now, [`VerifyError::Unavailable`] when the system gives no
    /// random bytes.
    pub async fn hash(&self, password: Secret) -> Result<String, VerifyError> {
        let params = self.settings.params;
        let hashed =
            self.run(params.work(), None, move |memory| argon::hash(params, password.expose(), memory)).await?;
        hashed.ok_or_else(|| VerifyError::unavailable("the password could not be hashed"))
    }

    /// Spends exactly one hash on an attempt. `Some(outdated)` if the password is right.
    pub(super) async fn verify(
        &self,
        stored: Option<StoredHash>,
        password: Secret,
        address: Option<IpAddr>,
    ) -> Result<Option<bool>, VerifyError> {
        let params = self.settings.params;
        let work = stored.as_ref().map_or(params, |stored| stored.params).work();
        self.run(work, address, move |memory| match stored {
            Some(stored) => stored.verify(password.expose(), memory).then(|| stored.is_outdated(params)),
            None => {
                argon::spend(params, password.expose(), memory);
                None
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: u64,
        address: Option<IpAddr>,
        job: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
    ) -> Result<T, VerifyError> {
        let shared = Arc::clone(self.shared.get_or_init(|| Shared::start(self.settings)));
        let (sender, receiver) = oneshot::channel();
        let sender = Arc::new(Mutex::new(Some(sender)));
        let watched = Arc::clone(&sender);
        let queued = Queued {
            is_abandoned: Box::new(move || {
                let sender = watched.lock().unwrap_or_else(PoisonError::into_inner);
                sender.as_ref().is_none_or(oneshot::Sender::is_abandoned)
            }),
            job: Box::new(move |memory| {
                let sender = sender.lock().unwrap_or_else(PoisonError::into_inner).take();
                let result = job(memory);
                if let Some(sender) = sender {
                    sender.send(result);
                }
            }),
            work,
            address,
        };
        if let Err(retry_after) = shared.admit(queued) {
            shared.refuse().await;
            return Err(VerifyError::Overloaded { retry_after });
        }
        receiver.await.ok_or_else(|| VerifyError::unavailable("a hashing thread failed"))
    }
}

impl fmt::Debug for HashingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashingPool")
            .field("threads", &self.settings.threads)
            .field("queue_wait", &self.settings.queue_wait)
            .field("params", &self.settings.params)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn start(settings: Settings) -> Arc<Self> {
        let shared = Arc::new(Self {
            settings,
            queue: Mutex::default(),
            changed: Condvar::new(),
            held: AtomicU64::new(0),
            hashed: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            shed: AtomicU64::new(0),
        });
        let mut started = 0;
        for number in 0..settings.threads {
            let worker = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("argon2-{number}"));
            if thread.spawn(move || worker.work()).is_ok() {
                started += 1;
            }
        }
        // Without a thread nobody would take a job: refuse all rather than let callers hang.
        shared.lock().closed = started == 0;
        shared
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, queued: Queued) -> Result<(), Duration> {
        let mut queue = self.lock();
        let nanos = queue.nanos_per_work.unwrap_or(FIRST_GUESS_NANOS) / self.settings.threads as f64;
        let wait_of = |work: u64| Duration::from_nanos((work as f64 * nanos) as u64);
        let own = queue.work_of.get(&queued.address).copied().unwrap_or_default();
        let others_wait = queue.work > own;
        let too_long = wait_of(queue.work) > self.settings.queue_wait;
        let too_greedy = others_wait && wait_of(own) > self.settings.queue_wait / 4;
        if queue.closed || too_long || too_greedy {
            let wait = wait_of(queue.work);
            drop(queue);
            self.shed.fetch_add(1, Ordering::Relaxed);
            return Err(wait.max(Duration::from_secs(1)));
        }
        queue.work += queued.work;
        *queue.work_of.entry(queued.address).or_default() += queued.work;
        queue.jobs.push_back(queued);
        drop(queue);
        self.changed.notify_one();
        Ok(())
    }

    async fn refuse(&self) {
        struct Held<'a>(&'a AtomicU64);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let held = Held(&self.held);
        if held.0.fetch_add(1, Ordering::Relaxed) < MOST_HELD {
            timer::sleep(REFUSAL_HELD).await;
        }
    }

    fn work(&self) {
        let mut memory = Vec::new();
        loop {
            let queued = self.next();
            if (queued.is_abandoned)() {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let started = Instant::now();
            let outcome = catch_unwind(AssertUnwindSafe(|| (queued.job)(&mut memory)));
            self.hashed.fetch_add(1, Ordering::Relaxed);
            if outcome.is_err() {
                memory = Vec::new();
            }
            let usual = self.settings.params.blocks();
            if memory.len() > usual {
                memory.truncate(usual);
                memory.shrink_to_fit();
            }
            let measured = started.elapsed().as_nanos() as f64 / queued.work.max(1) as f64;
            let mut queue = self.lock();
            queue.nanos_per_work = Some(queue.nanos_per_work.map_or(measured, |mean| mean + (measured - mean) / 8.0));
        }
    }

    fn next(&self) -> Queued {
        let mut queue = self.lock();
        loop {
            if let Some(queued) = queue.jobs.pop_front() {
                queue.work = queue.work.saturating_sub(queued.work);
                if let Some(own) = queue.work_of.get_mut(&queued.address) {
                    *own = own.saturating_sub(queued.work);
                    if *own == 0 {
                        queue.work_of.remove(&queued.address);
                    }
                }
                return queued;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
