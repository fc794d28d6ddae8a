use std::{
    future::Future,
    pin::{Pin, pin},
    sync::mpsc,
    task::{Context, Poll, Waker},
};

use super::*;

/// Runs on every machine well within this; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

fn small() -> Argon2Params {
    Argon2Params::new(64, 1, 1).unwrap()
}

fn pool() -> HashingPool {
    HashingPool::new().with_threads(1).with_params(small())
}

fn address(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, last]))
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn retry_after<T>(answer: impl Future<Output = Result<T, TokenError>>) -> u64 {
    match tokio::time::timeout(PATIENCE, answer).await.expect("not refused") {
        Err(error) if error.status() == 503 => error.retry_after_seconds().unwrap(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("not refused"),
    }
}

/// Keeps one thread of a pool busy until it is stopped or dropped.
struct Busy {
    done: tokio::task::JoinHandle<Result<(), TokenError>>,
    release: mpsc::Sender<()>,
}

impl Busy {
    async fn start(pool: &HashingPool) -> Self {
        let ((release, released), (start, started)) = (mpsc::channel::<()>(), tokio::sync::oneshot::channel());
        let pool = pool.clone();
        let done = tokio::spawn(async move {
            let job = move |_: &mut Memory| {
                start.send(()).unwrap();
                let _ = released.recv();
            };
            pool.submit(Some(1), None, job).await
        });
        started.await.unwrap();
        Self { done, release }
    }

    async fn stop(self) {
        drop(self.release);
        self.done.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_would_wait_too_long_is_refused_after_a_delay() {
    let pool = pool().with_queue_wait(Duration::ZERO);
    let busy = Busy::start(&pool).await;
    let mut waiting = pin!(pool.submit(Some(64), None, |_| "done"));
    assert!(poll(waiting.as_mut()).is_pending());
    let started = tokio::time::Instant::now();
    assert!(retry_after(pool.submit(Some(64), None, |_| ())).await >= 1);
    assert_eq!(started.elapsed(), REFUSAL_DELAY);
    assert_eq!(pool.stats(), PoolStats { hashed: 0, skipped: 0, overloaded: 1, queued: 1 });
    busy.stop().await;
    assert_eq!(waiting.await.unwrap(), "done");
    assert_eq!(pool.stats(), PoolStats { hashed: 2, skipped: 0, overloaded: 1, queued: 0 });
}

#[tokio::test]
async fn an_address_that_fills_its_quarter_is_refused_while_others_wait() {
    let pool = pool().with_queue_wait(Duration::from_secs(1));
    let busy = Busy::start(&pool).await;
    // As guessed before the first hash was timed: 0.3 s.
    let third = 600_000;
    let mut greedy = pin!(pool.submit(Some(third), address(1), |_| ()));
    let mut alone = pin!(pool.submit(Some(1), address(1), |_| ()));
    assert!(poll(greedy.as_mut()).is_pending() && poll(alone.as_mut()).is_pending());
    assert_eq!((pool.stats().queued, pool.stats().overloaded), (2, 0));
    let mut other = pin!(pool.submit(Some(1), address(2), |_| ()));
    assert!(poll(other.as_mut()).is_pending());
    retry_after(pool.submit(Some(1), address(1), |_| ())).await;
    assert_eq!((pool.stats().queued, pool.stats().overloaded), (3, 1));
    busy.stop().await;
    for job in [greedy as Pin<&mut dyn Future<Output = _>>, alone, other] {
        job.await.unwrap();
    }
}

#[tokio::test]
async fn sign_ups_together_have_the_share_of_one_address() {
    let pool = pool().with_params(Argon2Params::new(200_000, 3, 1).unwrap()).with_queue_wait(Duration::from_secs(1));
    let busy = Busy::start(&pool).await;
    // Each takes 0.3 s as guessed, so three are more than three quarters of the queue.
    let mut sign_ups: Vec<_> = (0..3).map(|_| Box::pin(pool.hash("wonderland123".into(), None))).collect();
    assert!(sign_ups.iter_mut().all(|sign_up| poll(sign_up.as_mut()).is_pending()));
    let mut refused = pin!(pool.hash("wonderland123".into(), None));
    assert!(poll(refused.as_mut()).is_pending() && pool.stats().overloaded == 1);
    let mut login = pin!(pool.submit(Some(1), address(1), |_| ()));
    assert!(poll(login.as_mut()).is_pending(), "a login has room");
    drop(busy);
}

#[tokio::test]
async fn a_bounded_number_of_refusals_is_delayed() {
    let pool = Pool::new(pool().settings);
    let more = 5;
    let mut refusals: Vec<_> = (0..MOST_DELAYED + more).map(|_| Box::pin(pool.delay_refusal())).collect();
    let sent_at_once = refusals.iter_mut().filter_map(|refusal| match poll(refusal.as_mut()) {
        Poll::Ready(()) => Some(()),
        Poll::Pending => None,
    });
    assert_eq!(sent_at_once.count(), more);
    drop(refusals);
    assert_eq!(pool.delays.available_permits(), MOST_DELAYED);
    assert!(poll(pin!(pool.delay_refusal())).is_pending(), "there is room again");
}

#[tokio::test]
async fn a_job_whose_caller_has_gone_is_skipped() {
    let pool = pool();
    let busy = Busy::start(&pool).await;
    let (ran, runs) = mpsc::channel();
    {
        let mut gone = pin!(pool.submit(Some(1), None, move |_| ran.send(())));
        assert!(poll(gone.as_mut()).is_pending());
    }
    busy.stop().await;
    pool.submit(Some(1), None, |_| ()).await.unwrap();
    assert_eq!(pool.stats(), PoolStats { hashed: 2, skipped: 1, overloaded: 0, queued: 0 });
    assert!(runs.recv().is_err(), "it did not run");
}

#[tokio::test]
async fn a_caller_that_goes_while_its_job_runs_leaves_it_running() {
    let pool = pool();
    let Busy { done, release } = Busy::start(&pool).await;
    done.abort();
    assert!(done.await.unwrap_err().is_cancelled());
    let mut next = pin!(pool.submit(Some(1), None, |_| ()));
    assert!(poll(next.as_mut()).is_pending());
    assert_eq!((pool.stats().hashed, pool.stats().queued), (0, 1), "the thread is not free yet");
    drop(release);
    next.await.unwrap();
    assert_eq!(pool.stats(), PoolStats { hashed: 2, skipped: 0, overloaded: 0, queued: 0 });
}

#[tokio::test]
async fn a_job_that_waited_too_long_is_refused() {
    let pool = Pool::new(pool().settings);
    let (job, answer) = job(true, |_| panic!("it must not run"));
    let (waited, late) = (PATIENCE, Some(Duration::from_secs(7)));
    pool.handle(Next { job, work: 1, waited, late }, &mut Memory::default());
    assert_eq!(retry_after(async { answer.await.unwrap() }).await, 7);
    assert_eq!(*lock(&pool.done), PoolStats { overloaded: 1, ..PoolStats::default() });
}

#[test]
fn only_hashes_teach_how_long_a_hash_takes() {
    let pool = Pool::new(pool().settings);
    for timed in [true, false] {
        let (job, _answer) = job(timed, |_| ());
        assert_eq!(job(&pool, None, &mut Memory::default()).is_some(), timed);
    }
}

#[tokio::test]
async fn a_job_that_panics_fails_alone() {
    let pool = pool();
    let failed: Result<(), _> =
        tokio::time::timeout(PATIENCE, pool.submit(Some(1), None, |_| panic!("on purpose"))).await.unwrap();
    assert_eq!(failed.unwrap_err().status(), 503);
    let alive = tokio::time::timeout(PATIENCE, pool.submit(Some(1), None, |_| "alive")).await.unwrap();
    assert_eq!(alive.unwrap(), "alive");
    assert_eq!(pool.stats(), PoolStats { hashed: 1, skipped: 0, overloaded: 0, queued: 0 });
}

#[tokio::test]
async fn without_a_thread_all_jobs_are_refused() {
    let mut pool = pool();
    pool.settings.threads = 0;
    assert_eq!(retry_after(pool.hash(Secret::from("wonderland123"), None)).await, 1);
    assert_eq!(pool.stats(), PoolStats { hashed: 0, skipped: 0, overloaded: 1, queued: 0 });
}

#[tokio::test]
async fn jobs_run_in_order_of_arrival() {
    let pool = pool();
    let busy = Busy::start(&pool).await;
    let (ran, order) = mpsc::channel();
    let mut jobs: Vec<_> = (0..10)
        .map(|number| {
            let ran = ran.clone();
            Box::pin(pool.submit(Some(1), address(number % 3), move |_| ran.send(number)))
        })
        .collect();
    assert!(jobs.iter_mut().all(|job| poll(job.as_mut()).is_pending()));
    busy.stop().await;
    for job in jobs {
        job.await.unwrap().unwrap();
    }
    assert_eq!(order.try_iter().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn memory_is_kept_between_jobs_and_given_back_after_a_large_one() {
    let pool = pool();
    let look = || pool.submit(Some(1), None, |memory| memory.blocks());
    let secret = || Secret::from("wonderland123");
    pool.hash(secret(), None).await.unwrap();
    let first = look().await.unwrap();
    assert_eq!(first, 64);
    pool.hash(secret(), None).await.unwrap();
    assert_eq!(look().await.unwrap(), first, "no more is taken");

    let large = Argon2Params::new(100, 1, 1).unwrap();
    let grown = pool.submit(Some(1), None, move |memory| {
        hash::spend(large, "wonderland123", memory);
        memory.blocks()
    });
    assert_eq!(grown.await.unwrap(), 100, "no more than needed");
    assert!(look().await.unwrap() <= 64);
}

#[tokio::test]
async fn clones_share_threads_and_an_edited_pool_has_its_own() {
    let pool = pool();
    pool.clone().hash(Secret::from("wonderland123"), None).await.unwrap();
    assert_eq!(pool.stats().hashed, 1);
    assert_eq!(pool.clone().with_threads(0).stats().hashed, 0);
    assert_eq!(pool.with_threads(0).settings.threads, 1);
}

#[tokio::test]
async fn threads_end_with_the_last_clone() {
    let pool = pool().with_threads(2);
    let other = pool.clone();
    pool.hash(Secret::from("wonderland123"), None).await.unwrap();
    let threads = Arc::downgrade(&pool.threads.get().unwrap().0);
    drop(pool);
    other.hash(Secret::from("wonderland123"), None).await.unwrap();
    drop(other);
    let started = Instant::now();
    while threads.strong_count() > 0 {
        assert!(started.elapsed() < PATIENCE, "{} threads still run", threads.strong_count());
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_is_counted_once() {
    let pool = pool().with_threads(2).with_queue_wait(Duration::from_micros(20));
    let jobs = (0..200_u8).map(|number| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let job =
                pool.submit(Some(200), address(number % 5), |memory| hash::spend(small(), "wonderland123", memory));
            if number % 3 == 0 {
                // Leaves after the first look, whether the job waits, runs, was refused or is done.
                let mut job = pin!(job);
                return poll(job.as_mut()).map(|answer| answer.is_ok());
            }
            Poll::Ready(job.await.is_ok())
        })
    });
    let (mut answered, mut refused, mut left) = (0, 0, 0);
    for job in jobs.collect::<Vec<_>>() {
        match job.await.unwrap() {
            Poll::Ready(true) => answered += 1,
            Poll::Ready(false) => refused += 1,
            Poll::Pending => left += 1,
        }
    }
    // A refusal counts although its caller leaves while it is delayed. What is still queued is skipped soon.
    let started = Instant::now();
    let sum = |stats: PoolStats| stats.hashed + stats.skipped + stats.overloaded;
    while sum(pool.stats()) < 200 {
        assert!(started.elapsed() < PATIENCE, "{:?}", pool.stats());
        tokio::task::yield_now().await;
    }
    let stats = pool.stats();
    assert_eq!(sum(stats), 200, "{stats:?}");
    assert!(stats.hashed >= answered && stats.overloaded >= refused && answered + refused + left == 200, "{stats:?}");
    assert_eq!(stats.queued, 0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn hashing_threads_give_way_and_others_do_not() {
    let niceness = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
    let before = niceness();
    for asked in [0, 7, 255] {
        let pool = HashingPool::new().with_threads(1).with_niceness(asked);
        let seen = pool.submit(Some(1), None, move |_| niceness()).await.unwrap();
        assert_eq!(seen, i32::from(asked.min(19)).max(before));
    }
    assert_eq!(niceness(), before);
}

#[test]
fn settings_are_capped_and_printed() {
    let pool = HashingPool::default().with_queue_wait(Duration::MAX).with_niceness(255).with_params(small());
    assert_eq!((pool.settings.queue_wait, pool.settings.niceness), (Duration::from_secs(3_600), 19));
    let printed = format!("{:?}", pool.with_threads(3).with_queue_wait(Duration::from_secs(7)));
    assert!(printed.contains("threads: 3") && printed.contains("queue_wait: 7s"), "{printed}");
    assert!(printed.contains("m_cost: 64"), "{printed}");
}

#[test]
fn there_is_one_pool_for_the_process() {
    assert!(Arc::ptr_eq(&HashingPool::process_wide().threads, &HashingPool::process_wide().threads));
    assert!(!Arc::ptr_eq(&HashingPool::process_wide().threads, &HashingPool::new().threads));
}

#[tokio::test]
async fn other_code_runs_on_the_hashing_threads_and_returns_its_result() {
    let pool = pool();
    let name = pool.run(|| std::thread::current().name().map(str::to_owned), address(1)).await.unwrap();
    assert_eq!(name.as_deref(), Some("argon2-0"));
    let failed = pool.run(|| "x".parse::<u8>(), None).await.unwrap();
    assert!(failed.is_err(), "its own error is a result");
    let panicked: Result<(), _> = pool.run(|| panic!("on purpose"), None).await;
    assert_eq!(panicked.unwrap_err().status(), 503);
    let alive = tokio::time::timeout(PATIENCE, pool.run(|| "alive", None)).await.unwrap();
    assert_eq!(alive.unwrap(), "alive");
    assert_eq!(pool.stats().hashed, 3);
}

#[tokio::test]
async fn a_password_is_verified_with_one_hash_whatever_is_stored() {
    let pool = pool();
    let phc = pool.hash("wonderland123".into(), None).await.unwrap();
    for (password, phc, right) in [
        ("wonderland123", Some(phc.as_str()), true),
        ("wonderland124", Some(&phc), false),
        ("", Some(&phc), false),
        ("wonderland123", None, false),
        ("wonderland123", Some("$2b$12$KIXQ4lQe0gN1bPzGkCy5o.6jFsgTgvW0cL7kJtqVqQyYt1F1l0p7e"), false),
    ] {
        let before = pool.stats().hashed;
        assert_eq!(pool.verify(password.into(), phc, address(1)).await.unwrap(), right, "{password} {phc:?}");
        assert_eq!(pool.stats().hashed - before, 1, "{password} {phc:?}");
    }
    let fresh = self::pool();
    assert!(!fresh.verify("wonderland123".into(), None, None).await.unwrap());
    assert_eq!(fresh.submit(Some(1), None, |memory| memory.blocks()).await.unwrap(), 64, "without a user, too");
}

#[tokio::test]
async fn an_address_has_one_share_whatever_it_asks_for() {
    let expensive = Argon2Params::new(200_000, 3, 1).unwrap();
    for asked in [address(1), None] {
        let pool = pool().with_params(expensive).with_queue_wait(Duration::from_secs(1));
        let busy = Busy::start(&pool).await;
        // 0.3 s each, as guessed.
        let mut other = pin!(pool.submit(Some(1), address(2), |_| ()));
        let mut first = pin!(pool.run(|| (), asked));
        assert!(poll(other.as_mut()).is_pending() && poll(first.as_mut()).is_pending());
        assert_eq!((pool.stats().queued, pool.stats().overloaded), (2, 0));
        retry_after(pool.run(|| (), asked)).await;
        retry_after(pool.verify("wonderland123".into(), None, asked)).await;
        retry_after(pool.hash("wonderland123".into(), asked)).await;
        assert_eq!((pool.stats().queued, pool.stats().overloaded), (2, 3));
        assert!(poll(pin!(pool.run(|| (), address(3)))).is_pending(), "another address has room");
        drop(busy);
    }
}
