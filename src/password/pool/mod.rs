//! A few threads that hash passwords. Each keeps its own memory.
//!
//! 1. Jobs wait in one queue. A job whose expected wait is too long is refused, and so is one of an address that holds more
//!    than its share of the queue.
//! 2. A refusal is delayed a little, so that clients that retry at once do not take the cores from the hashes.
//! 3. A job whose caller has gone is skipped.
//! 4. Memory is the number of threads times the cost of a hash, whatever the load.

mod queue;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};

use self::queue::{Next, Queue};
use super::schemes::HashCheck;
use super::{backend::Memory, hash, params::Argon2Params};
use crate::attempts::address::canonical;
use crate::secret::{Secret, debug_only};
use crate::sync::{Condvar, Mutex, lock, sleep, thread, unwind_guarded};
use crate::{error::TokenError, observe, verifier::is_credential_text};

const REFUSAL_DELAY: Duration = Duration::from_millis(250);
/// How many refusals are delayed at once. More are sent at once.
const MOST_DELAYED: usize = 4_096;

/// How long an idle thread keeps what its last hash left in memory. Under load the next hash overwrites it, and nobody
/// waits until it is wiped.
const USED_MEMORY_KEPT: Duration = Duration::from_secs(1);

/// The address of jobs without one: the prefix to which nobody can send (RFC 6666).
const UNKNOWN: IpAddr = IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0));

/// The longest password, in bytes.
const LONGEST_PASSWORD: usize = 4_096;

/// Whether a login can send this password.
fn is_acceptable(password: &Secret) -> bool {
    !password.is_empty() && password.expose().len() <= LONGEST_PASSWORD && is_credential_text(password.expose())
}

const LONGEST_QUEUE_WAIT: Duration = Duration::from_secs(3_600);
const NICENESS: u8 = 10;

/// Computes a hash, or refuses to if it is late, and answers the caller. Returns how long the hash took.
type Job = Box<dyn FnOnce(&Pool, Option<Duration>, &mut Memory) -> Option<Duration> + Send>;

/// Threads that hash passwords, by default as many as cores. Cheap to clone. Clones share the threads, which start with the
/// first hash and end with the last clone.
///
/// A job that would wait longer than the limit, by default a second, gets a 503. So does a job of an address that holds a
/// quarter of the queue while others wait, or three quarters of it alone. A job that waited twice the limit gets a 503 then.
///
/// ```
/// use tower_oauth2_password::{Argon2Params, HashingPool};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let pool = HashingPool::new().with_threads(1).with_params(Argon2Params::new(64, 1, 1)?); // for a test
/// let phc = pool.hash("wonderland123".into(), None).await?;
/// assert!(phc.starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
/// assert!(pool.verify("wonderland123".into(), Some(&phc), None).await?);
/// assert_eq!(pool.stats().hashed, 2);
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct HashingPool {
    settings: Settings,
    threads: Arc<OnceLock<Threads>>,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    threads: usize,
    queue_wait: Duration,
    params: Argon2Params,
    niceness: u8,
    /// How a password is hashed, if not as it was sent.
    respell: fn(&Secret) -> Option<Secret>,
}

/// The threads end when this is dropped.
struct Threads(Arc<Pool>);

impl Drop for Threads {
    fn drop(&mut self) {
        lock(&self.0.queue).closed = true;
        self.0.changed.notify_all();
    }
}

struct Pool {
    settings: Settings,
    queue: Mutex<Queue<Job>>,
    changed: Condvar,
    delays: Semaphore,
    done: Mutex<PoolStats>,
}

/// What a pool has done so far.
///
/// ```
/// use tower_oauth2_password::{HashingPool, PoolStats};
///
/// assert_eq!(HashingPool::new().stats(), PoolStats::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Jobs that were done.
    pub hashed: u64,
    /// Jobs that were skipped because their caller had gone.
    pub skipped: u64,
    /// Jobs that got a 503, at once or because they had waited too long.
    pub overloaded: u64,
    /// Jobs that are waiting now.
    pub queued: usize,
}

impl Default for HashingPool {
    fn default() -> Self {
        Self::new()
    }
}

impl HashingPool {
    /// As many threads as cores, a wait of at most a second, and the default cost for new hashes.
    pub fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (queue_wait, params) = (Duration::from_secs(1), Argon2Params::default());
        Self {
            settings: Settings { threads, queue_wait, params, niceness: NICENESS, respell: |_| None },
            threads: Arc::default(),
        }
    }

    /// The pool that all verifiers share by default.
    pub fn process_wide() -> Self {
        static POOL: OnceLock<HashingPool> = OnceLock::new();
        POOL.get_or_init(HashingPool::new).clone()
    }

    fn edit(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self.threads = Arc::default();
        self
    }

    /// Sets the number of threads, at least one. More threads than cores are slower.
    pub fn with_threads(self, threads: usize) -> Self {
        self.edit(|settings| settings.threads = threads.max(1))
    }

    /// Sets the niceness of the threads, from 0 to 19. The default is 10, so that other requests are answered while
    /// passwords are hashed. It has an effect on Linux only; elsewhere [`with_threads`](Self::with_threads) can leave a
    /// core free.
    pub fn with_niceness(self, niceness: u8) -> Self {
        self.edit(|settings| settings.niceness = niceness.min(19))
    }

    /// Sets the longest expected wait, an hour at most. The default is a second. A job that would wait longer gets a 503.
    pub fn with_queue_wait(self, wait: Duration) -> Self {
        self.edit(|settings| settings.queue_wait = wait.min(LONGEST_QUEUE_WAIT))
    }

    /// Sets the cost of new hashes, and of attempts that have no hash to check.
    pub fn with_params(self, params: Argon2Params) -> Self {
        self.edit(|settings| settings.params = params)
    }

    /// Hashes and checks passwords in NFC (NIST SP 800-63B-4, section 3.1.1.2), so that `ë` is the same password from each
    /// keyboard.
    ///
    /// A password that was not sent in NFC may have been hashed as it was, before. So it is checked both ways, which costs two
    /// hashes, whether the user exists or not. If it is right as it was sent, the hash is replaced.
    #[cfg(feature = "unicode")]
    pub fn with_nfc_passwords(self) -> Self {
        self.edit(|settings| settings.respell = super::nfc::nfc)
    }

    /// What the pool has done so far.
    pub fn stats(&self) -> PoolStats {
        let Some(Threads(pool)) = self.threads.get() else { return PoolStats::default() };
        PoolStats { queued: lock(&pool.queue).len(), ..*lock(&pool.done) }
    }

    /// Hashes a new password, for instance at sign-up. Returns a PHC string. The job counts for the client's `address`
    /// ([`AuthorizationServer::client_address`](crate::AuthorizationServer::client_address)). All jobs without one have the
    /// share of one address together, so that they cannot keep logins out.
    ///
    /// # Errors
    /// 400 `invalid_request` for a password that no login can send: an empty one, one with a control character other than
    /// TAB, and one of more than 4,096 bytes. 503 if the queue is full, or the operating system returns no random bytes.
    pub async fn hash(&self, password: Secret, address: Option<IpAddr>) -> Result<String, TokenError> {
        if !is_acceptable((self.settings.respell)(&password).as_ref().unwrap_or(&password)) {
            let description = "The password is empty, longer than 4096 bytes, or has a character that is not allowed";
            return Err(TokenError::invalid_request(description));
        }
        self.hash_for(password, address.or(Some(UNKNOWN))).await
    }

    /// Whether the password is that of an Argon2 hash, a PHC string. Computes exactly one hash, also if `phc` is `None`, for a
    /// user that does not exist, or cannot be read, which the log says: timing reveals nothing. The address is as for
    /// [`hash`](Self::hash).
    ///
    /// # Errors
    /// 503 if the queue is full.
    pub async fn verify(
        &self,
        password: Secret,
        phc: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<bool, TokenError> {
        let check = |params| HashCheck::of(|_| None, "", phc, params);
        Ok(self.check(check, password, address.or(Some(UNKNOWN))).await?.is_some())
    }

    /// Runs other code that keeps a core busy, such as bcrypt, and returns its result. It counts as one hash, and must not
    /// wait for anything: it has one of the few threads. The address is as for [`hash`](Self::hash).
    ///
    /// ```
    /// use tower_oauth2_password::{BoxError, HashingPool, Identity, Login, Verdict, Verifier};
    /// # mod bcrypt {
    /// #     pub fn verify(password: &str, hash: &str) -> Result<bool, std::fmt::Error> {
    /// #         Ok(hash == format!("$2b${password}"))
    /// #     }
    /// # }
    ///
    /// /// Passwords move to Argon2 as their users log in. `None`: there is no such user.
    /// async fn verify(pool: &HashingPool, login: Login, stored: Option<String>) -> Result<Verdict, BoxError> {
    ///     let (password, address) = (login.password, login.client_address);
    ///     let right = match stored {
    ///         Some(hash) if hash.starts_with("$2") => {
    ///             let tried = password.clone();
    ///             let right = pool.run(move || bcrypt::verify(tried.expose(), &hash), address).await??;
    ///             if right {
    ///                 let _new = pool.hash(password, address).await?; // store it
    ///             }
    ///             right
    ///         }
    ///         stored => pool.verify(password, stored.as_deref(), address).await?,
    ///     };
    ///     Ok(if right { Identity::new(login.username).into() } else { Verdict::Denied })
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let pool = HashingPool::new();
    /// let granted = verify(&pool, Login::new("alice", "wonderland123"), Some("$2b$wonderland123".to_owned())).await?;
    /// assert!(matches!(granted, Verdict::Granted(_)));
    /// assert!(matches!(verify(&pool, Login::new("bob", "guess"), None).await?, Verdict::Denied));
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// # })?;
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// ```
    ///
    /// # Errors
    /// 503 if the queue is full, or the code panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
        address: Option<IpAddr>,
    ) -> Result<T, TokenError> {
        self.submit(None, address.or(Some(UNKNOWN)), |_| job()).await
    }

    pub(super) async fn hash_for(&self, password: Secret, address: Option<IpAddr>) -> Result<String, TokenError> {
        let (params, password) = (self.settings.params, (self.settings.respell)(&password).unwrap_or(password));
        let hash = move |memory: &mut Memory| hash::hash(params, password.expose(), memory);
        let hashed = self.submit(Some(params.work()), address, hash).await?;
        hashed.ok_or_else(|| TokenError::from_cause("a password was not hashed", "no random bytes".into()))
    }

    /// Computes one hash for an attempt, or two if the password was not sent in NFC. `check` gets the cost of new hashes. Returns
    /// `Some(outdated)` if the password is correct.
    pub(super) async fn check(
        &self,
        check: impl Fn(Argon2Params) -> HashCheck,
        password: Secret,
        address: Option<IpAddr>,
    ) -> Result<Option<bool>, TokenError> {
        let spellings = [(self.settings.respell)(&password), Some(password)].into_iter().flatten();
        let checks: Vec<_> = spellings.map(|spelling| (check(self.settings.params), spelling)).collect();
        let work = checks.iter().map(|(check, _)| check.work).sum();
        let hash = move |memory: &mut Memory| {
            checks.into_iter().enumerate().find_map(|(n, (check, password))| {
                let is_outdated = (check.run)(password.expose(), memory).filter(|_| is_acceptable(&password))?;
                Some(is_outdated || n > 0)
            })
        };
        self.submit(Some(work), address, hash).await
    }

    /// The expected cost of all waiting jobs.
    #[cfg(all(test, shuttle))]
    pub(super) fn waiting_work(&self) -> u64 {
        self.threads.get().map_or(0, |Threads(pool)| lock(&pool.queue).work())
    }

    /// Without `work` it counts as one hash, and its time says nothing about that of hashes.
    pub(super) async fn submit<T: Send + 'static>(
        &self,
        work: Option<u64>,
        address: Option<IpAddr>,
        hash: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, TokenError> {
        let Threads(pool) = self.threads.get_or_init(|| Threads(Arc::new(Pool::new(self.settings))));
        let (job, answer) = job(work.is_some(), hash);
        let work = work.unwrap_or(self.settings.params.work());
        if let Err(retry_after) = pool.admit(job, work, address.map(canonical)) {
            pool.delay_refusal().await;
            return Err(TokenError::temporarily_unavailable(retry_after));
        }
        answer.await.map_err(|_| TokenError::from_cause("a password was not hashed", "the code panicked".into()))?
    }
}

debug_only!(HashingPool { settings });

fn job<T: Send + 'static>(
    timed: bool,
    hash: impl FnOnce(&mut Memory) -> T + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T, TokenError>>) {
    let (caller, answer) = oneshot::channel();
    let job = move |pool: &Pool, late: Option<Duration>, memory: &mut Memory| {
        if caller.is_closed() {
            lock(&pool.done).skipped += 1;
            return None;
        }
        if let Some(retry_after) = late {
            pool.overloaded();
            let _ = caller.send(Err(TokenError::temporarily_unavailable(retry_after)));
            return None;
        }
        let started = Instant::now();
        let result = hash(memory);
        let took = started.elapsed();
        // Before the answer: a caller that has it sees it counted.
        lock(&pool.done).hashed += 1;
        let _ = caller.send(Ok(result));
        timed.then_some(took)
    };
    (Box::new(job), answer)
}

impl Pool {
    fn new(settings: Settings) -> Self {
        let (queue, changed) = (Mutex::new(Queue::new(settings.queue_wait)), Condvar::new());
        Self { settings, queue, changed, delays: Semaphore::new(MOST_DELAYED), done: Mutex::default() }
    }

    fn admit(self: &Arc<Self>, job: Job, work: u64, address: Option<IpAddr>) -> Result<(), Duration> {
        let mut queue = lock(&self.queue);
        // A thread that the system refused before is tried again.
        while queue.threads < self.settings.threads && self.spawn(queue.threads) {
            queue.threads += 1;
        }
        let admitted = queue.admit(job, work, address, Instant::now());
        observe::queued(queue.len());
        drop(queue);
        admitted.inspect(|()| self.changed.notify_one()).inspect_err(|_| self.overloaded())
    }

    fn overloaded(&self) {
        lock(&self.done).overloaded += 1;
        observe::overloaded();
    }

    fn spawn(self: &Arc<Self>, number: usize) -> bool {
        let worker = Arc::clone(self);
        thread::Builder::new().name(format!("argon2-{number}")).spawn(move || worker.work()).is_ok()
    }

    async fn delay_refusal(&self) {
        if let Ok(_permit) = self.delays.try_acquire() {
            // Without a timer the refusal is not delayed.
            let _ = sleep(REFUSAL_DELAY).await;
        }
    }

    fn work(&self) {
        give_way(self.settings.niceness);
        let usual = self.settings.params.m_cost as usize;
        let mut memory = Memory::default();
        while let Some(next) = self.next(&mut memory) {
            // A panic of a job or of a caller's waker does not end the thread. Each hash overwrites the memory.
            unwind_guarded(|| self.handle(next, &mut memory));
            memory.shrink(usual);
        }
    }

    fn next(&self, memory: &mut Memory) -> Option<Next<Job>> {
        let wipe_at = Instant::now() + USED_MEMORY_KEPT;
        let mut queue = lock(&self.queue);
        loop {
            if let Some(next) = queue.next(Instant::now()) {
                observe::queued(queue.len());
                return Some(next);
            }
            if queue.closed {
                return None;
            }
            let until_wiped = memory.is_used.then(|| wipe_at.saturating_duration_since(Instant::now()));
            let waited = self.changed.wait_timeout(queue, until_wiped.unwrap_or(Duration::MAX));
            let over;
            (queue, over) = waited.unwrap_or_else(PoisonError::into_inner);
            if over.timed_out() && queue.len() == 0 {
                drop(queue);
                memory.wipe();
                queue = lock(&self.queue);
            }
        }
    }

    fn handle(&self, next: Next<Job>, memory: &mut Memory) {
        if let Some(took) = (next.job)(self, next.late, memory) {
            observe::hashed(next.waited, took);
            lock(&self.queue).learn(next.work, took);
        }
    }
}

/// Lowers the priority of the calling thread. If that fails, it hashes all the same.
#[cfg(target_os = "linux")]
fn give_way(niceness: u8) {
    // Linux has a niceness for each thread, and accepts a thread's id instead of a process's.
    let thread = Some(rustix::thread::gettid());
    if rustix::process::getpriority_process(thread).is_ok_and(|now| now < i32::from(niceness)) {
        let _ = rustix::process::setpriority_process(thread, i32::from(niceness));
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way(_: u8) {}
