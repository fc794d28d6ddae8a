//! A few threads that hash passwords, each with memory of its own that it keeps.

mod queue;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use self::queue::{Next, Queue};
use super::{
    argon::{self, Argon2Params, StoredHash},
    backend::Memory,
    oneshot,
};
use crate::{
    observe,
    secret::Secret,
    sync::{Condvar, Mutex, lock, thread, wait, wait_for},
    timer,
    verifier::VerifyError,
};

/// How long a refusal is held, so that clients that come back at once do not take the cores from the hashes.
const REFUSAL_HELD: Duration = Duration::from_millis(250);
/// How many refusals are held at once; more are told at once.
const MOST_HELD: u64 = 4_096;

/// How long a thread that has nothing to do keeps what its last hash left in memory: under load it is overwritten by the
/// next, and nobody waits for it to be wiped.
const USED_MEMORY_KEPT: Duration = Duration::from_secs(1);

/// No caller waits longer.
const LONGEST_QUEUE_WAIT: Duration = Duration::from_secs(3_600);
/// How far hashing gives way to what else the machine does.
const NICENESS: u8 = 10;

/// What waits for a thread.
trait Job: Send {
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    fn run(self: Box<Self>, memory: &mut Memory, hashed: &AtomicU64);
    fn refuse(self: Box<Self>, retry_after: Duration);
}

struct Task<F, T> {
    hash: F,
    answer: oneshot::Sender<Result<T, VerifyError>>,
}

impl<F: FnOnce(&mut Memory) -> T + Send, T: Send> Job for Task<F, T> {
    fn is_abandoned(&self) -> bool {
        self.answer.is_abandoned()
    }

    fn run(self: Box<Self>, memory: &mut Memory, hashed: &AtomicU64) {
        let Self { hash, answer } = *self;
        let result = hash(memory);
        // Counted before the answer, so that who got the answer sees it counted.
        hashed.fetch_add(1, Ordering::Relaxed);
        answer.send(Ok(result));
    }

    fn refuse(self: Box<Self>, retry_after: Duration) {
        self.answer.send(Err(VerifyError::Overloaded { retry_after }));
    }
}

/// Hashes passwords on own threads, as many as cores, with a bound on the expected wait. Cheap to clone; clones share
/// the threads, which start at the first use.
///
/// Memory is threads × the cost of a hash, whatever the load. A job that would wait longer than the limit (1 s unless
/// set) is refused with [`VerifyError::Overloaded`]; so is one of an address that already holds a quarter of the queue
/// while others wait, too, or three quarters of it alone. A job that has waited twice the limit all the same is refused
/// then. A job whose caller has gone is skipped.
#[derive(Clone)]
pub struct HashingPool {
    settings: Settings,
    shared: Arc<OnceLock<Running>>,
}

#[derive(Clone, Copy)]
struct Settings {
    threads: usize,
    queue_wait: Duration,
    params: Argon2Params,
    niceness: u8,
}

/// The threads end when the last clone of their pool has gone.
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.0.state).closed = true;
        self.0.changed.notify_all();
    }
}

struct Shared {
    settings: Settings,
    state: Mutex<State>,
    changed: Condvar,
    held: AtomicU64,
    hashed: AtomicU64,
    skipped: AtomicU64,
    shed: AtomicU64,
}

struct State {
    queue: Queue<Box<dyn Job>>,
    threads: usize,
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
    /// Jobs that were refused since there was no room, or since they had waited too long.
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
        let settings = Settings {
            threads,
            queue_wait: Duration::from_secs(1),
            params: Argon2Params::default(),
            niceness: NICENESS,
        };
        Self { settings, shared: Arc::default() }
    }

    /// The pool that verifiers share unless given another.
    #[must_use]
    pub fn process_wide() -> Self {
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

    /// How far the threads give way to all others of this machine when there is not enough of it, from 0 (not at all)
    /// to 19: 10 unless set, so that other requests are answered while passwords are hashed. On Linux only; elsewhere
    /// [`with_threads`](Self::with_threads) can leave a core free.
    #[must_use]
    pub fn with_niceness(self, niceness: u8) -> Self {
        self.edit(|settings| settings.niceness = niceness.min(19))
    }

    /// The longest expected wait at which a job is still taken; an hour at most.
    #[must_use]
    pub fn with_queue_wait(self, wait: Duration) -> Self {
        self.edit(|settings| settings.queue_wait = wait.min(LONGEST_QUEUE_WAIT))
    }

    /// The cost of new hashes, and of attempts that have no hash to check.
    #[must_use]
    pub fn with_params(self, params: Argon2Params) -> Self {
        self.edit(|settings| settings.params = params)
    }

    /// What the pool has done so far.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.shared.get().map_or_else(PoolStats::default, |Running(shared)| PoolStats {
            hashed: shared.hashed.load(Ordering::Relaxed),
            skipped: shared.skipped.load(Ordering::Relaxed),
            shed: shared.shed.load(Ordering::Relaxed),
            queued: lock(&shared.state).queue.len(),
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

    /// What all that wait now are expected to cost.
    #[cfg(all(test, shuttle))]
    pub(super) fn waiting_work(&self) -> u64 {
        self.shared.get().map_or(0, |Running(shared)| lock(&shared.state).queue.work())
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: u64,
        address: Option<IpAddr>,
        hash: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, VerifyError> {
        let Running(shared) = self.shared.get_or_init(|| Running(Arc::new(Shared::new(self.settings))));
        let (answer, receiver) = oneshot::channel();
        if let Err(retry_after) = shared.admit(Box::new(Task { hash, answer }), work, address) {
            shared.hold_refusal().await;
            return Err(VerifyError::Overloaded { retry_after });
        }
        receiver.await.unwrap_or_else(|| Err(VerifyError::unavailable("a hashing thread failed")))
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
    fn new(settings: Settings) -> Self {
        let state = State { queue: Queue::new(settings.queue_wait), threads: 0, closed: false };
        Self {
            settings,
            state: Mutex::new(state),
            changed: Condvar::new(),
            held: AtomicU64::new(0),
            hashed: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            shed: AtomicU64::new(0),
        }
    }

    fn admit(self: &Arc<Self>, job: Box<dyn Job>, work: u64, address: Option<IpAddr>) -> Result<(), Duration> {
        let mut state = lock(&self.state);
        // A thread that the system refused before is tried again.
        while state.threads < self.settings.threads && self.spawn(state.threads) {
            state.threads += 1;
        }
        let threads = state.threads;
        let admitted = state.queue.admit(job, work, address, threads, Instant::now());
        observe::queued(state.queue.len());
        drop(state);
        match admitted {
            Ok(()) => self.changed.notify_one(),
            Err(_) => {
                self.shed.fetch_add(1, Ordering::Relaxed);
                observe::shed();
            }
        }
        admitted
    }

    fn spawn(self: &Arc<Self>, number: usize) -> bool {
        let worker = Arc::clone(self);
        thread::Builder::new().name(format!("argon2-{number}")).spawn(move || worker.work()).is_ok()
    }

    async fn hold_refusal(&self) {
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
        give_way(self.settings.niceness);
        let usual = self.settings.params.blocks();
        let mut memory = Memory::default();
        while let Some(next) = self.next(&mut memory) {
            // Neither a job nor a caller's waker that panics ends the thread; each hash overwrites the memory.
            let _ = catch_unwind(AssertUnwindSafe(|| self.handle(next, &mut memory)));
            memory.shrink(usual);
        }
    }

    fn next(&self, memory: &mut Memory) -> Option<Next<Box<dyn Job>>> {
        let wipe_at = Instant::now() + USED_MEMORY_KEPT;
        let mut state = lock(&self.state);
        loop {
            let threads = state.threads;
            if let Some(next) = state.queue.next(threads, Instant::now()) {
                observe::queued(state.queue.len());
                return Some(next);
            }
            if state.closed {
                return None;
            }
            if !memory.is_used() {
                state = wait(&self.changed, state);
                continue;
            }
            let over;
            (state, over) = wait_for(&self.changed, state, wipe_at.saturating_duration_since(Instant::now()));
            if over && state.queue.len() == 0 {
                drop(state);
                memory.wipe();
                state = lock(&self.state);
            }
        }
    }

    fn handle(&self, next: Next<Box<dyn Job>>, memory: &mut Memory) {
        if next.job.is_abandoned() {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        } else if let Some(retry_after) = next.late {
            self.shed.fetch_add(1, Ordering::Relaxed);
            observe::shed();
            next.job.refuse(retry_after);
        } else {
            let started = Instant::now();
            next.job.run(memory, &self.hashed);
            let took = started.elapsed();
            observe::hashed(next.waited, took);
            lock(&self.state).queue.learn(next.work, took);
        }
    }
}

/// Lowers the priority of the calling thread; one that cannot be lowered hashes all the same.
#[cfg(target_os = "linux")]
fn give_way(niceness: u8) {
    // Linux keeps a niceness for each thread, and takes a thread's id where others take a process's.
    let thread = Some(rustix::thread::gettid());
    if rustix::process::getpriority_process(thread).is_ok_and(|now| now < i32::from(niceness)) {
        let _ = rustix::process::setpriority_process(thread, i32::from(niceness));
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way(_: u8) {}
