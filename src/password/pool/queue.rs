//! The queue of the hashing threads: it admits jobs and returns the next one.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The guess for one KiB before the first hash was timed.
const FIRST_GUESS_NANOS: f64 = 500.0;
/// How much less earlier timings count with each new one.
const FADING: f64 = 7.0 / 8.0;
/// The shortest `retry-after`, and the shortest wait after which a job is late.
const SECOND: Duration = Duration::from_secs(1);

/// Jobs in the order in which they came, admitted by their expected wait.
pub(super) struct Queue<J> {
    longest_wait: Duration,
    pub(super) threads: usize,
    /// No more jobs will come.
    pub(super) closed: bool,
    jobs: VecDeque<Waiting<J>>,
    work: u64,
    work_of: HashMap<Option<IpAddr>, u64>,
    timed_nanos: f64,
    timed_work: f64,
}

struct Waiting<J> {
    job: J,
    work: u64,
    address: Option<IpAddr>,
    since: Instant,
}

/// The next job.
pub(super) struct Next<J> {
    pub(super) job: J,
    pub(super) work: u64,
    pub(super) waited: Duration,
    /// Set if the job waited too long: when its caller should retry.
    pub(super) late: Option<Duration>,
}

impl<J> Queue<J> {
    pub(super) fn new(longest_wait: Duration) -> Self {
        let (jobs, work_of) = (VecDeque::new(), HashMap::new());
        Self { longest_wait, threads: 0, closed: false, jobs, work: 0, work_of, timed_nanos: 0.0, timed_work: 0.0 }
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    #[cfg(all(test, shuttle))]
    pub(super) fn work(&self) -> u64 {
        self.work
    }

    /// Admits a job, or returns when its caller should retry.
    pub(super) fn admit(&mut self, job: J, work: u64, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let own = self.work_of.get(&address).copied().unwrap_or_default();
        let share = match address {
            _ if self.work > own => self.longest_wait / 4,
            // The first address must leave room for others.
            Some(_) => self.longest_wait / 4 * 3,
            None => self.longest_wait,
        };
        let all = self.wait_of(self.work);
        if self.threads == 0 || all > self.longest_wait || self.wait_of(own) > share {
            return Err(all.max(SECOND));
        }
        self.work += work;
        *self.work_of.entry(address).or_default() += work;
        self.jobs.push_back(Waiting { job, work, address, since: now });
        Ok(())
    }

    pub(super) fn next(&mut self, now: Instant) -> Option<Next<J>> {
        let Waiting { job, work, address, since } = self.jobs.pop_front()?;
        self.work = self.work.saturating_sub(work);
        if let Some(own) = self.work_of.get_mut(&address) {
            *own = own.saturating_sub(work);
            if *own == 0 {
                self.work_of.remove(&address);
            }
        }
        // The expectation may have been too short. Nobody waits much longer for an answer.
        let patience = (self.longest_wait * 2).max(SECOND);
        let waited = now.saturating_duration_since(since);
        let late = waited > patience;
        Some(Next { job, work, waited, late: late.then(|| self.wait_of(self.work).max(SECOND)) })
    }

    /// Learns from a finished job how long others will take.
    pub(super) fn learn(&mut self, work: u64, took: Duration) {
        self.timed_nanos = self.timed_nanos * FADING + took.as_nanos() as f64;
        self.timed_work = self.timed_work * FADING + work as f64;
    }

    fn wait_of(&self, work: u64) -> Duration {
        let nanos = if self.timed_work > 0.0 { self.timed_nanos / self.timed_work } else { FIRST_GUESS_NANOS };
        Duration::from_nanos((work as f64 * nanos / self.threads.max(1) as f64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    /// Work that takes 10 ms as it is guessed at first.
    const TEN_MS: u64 = 20_000;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn queue<J>(longest_wait: Duration) -> Queue<J> {
        Queue { threads: 1, ..Queue::new(longest_wait) }
    }

    fn admitted(queue: &mut Queue<u8>, address: Option<IpAddr>) -> usize {
        let now = Instant::now();
        (0..10_000).take_while(|_| queue.admit(0, TEN_MS, address, now).is_ok()).count()
    }

    fn drain(queue: &mut Queue<u8>) {
        while queue.next(Instant::now()).is_some() {}
        assert_eq!((queue.len(), queue.work, queue.work_of.len()), (0, 0, 0));
    }

    #[test]
    fn as_many_jobs_are_admitted_as_can_be_done_in_time() {
        let mut queue = queue(SECOND);
        assert_eq!(admitted(&mut queue, None), 101);
        drain(&mut queue);
        queue.threads = 4;
        assert_eq!(admitted(&mut queue, None), 401);
        drain(&mut queue);
        queue.threads = 1;
        queue.learn(TEN_MS, 50 * MILLISECOND);
        assert_eq!(admitted(&mut queue, None), 21);
        drain(&mut queue);
        queue.threads = 0;
        assert_eq!(admitted(&mut queue, None), 0, "there is no thread");
    }

    #[test]
    fn retry_after_is_the_expected_wait_and_at_least_one_second() {
        let mut long = queue(3 * SECOND);
        admitted(&mut long, None);
        assert_eq!(long.admit(0, TEN_MS, None, Instant::now()), Err(3_010 * MILLISECOND));
        let mut none = queue(Duration::ZERO);
        assert_eq!(admitted(&mut none, None), 1, "one may always wait");
        assert_eq!(none.admit(0, TEN_MS, None, Instant::now()), Err(SECOND));
    }

    #[test]
    fn one_address_gets_a_quarter_while_others_wait() {
        let mut queue = queue(SECOND);
        assert!(queue.admit(0, TEN_MS, address(1), Instant::now()).is_ok());
        assert_eq!(admitted(&mut queue, address(2)), 26);
        assert_eq!(admitted(&mut queue, address(2)), 0);
        assert_eq!(admitted(&mut queue, address(3)), 26, "others still may");
        while queue.work_of.len() > 1 {
            queue.next(Instant::now());
        }
        assert_eq!(admitted(&mut queue, address(3)), 50, "more than a quarter once nobody else waits");
    }

    #[test]
    fn an_address_alone_leaves_room_for_others() {
        let mut queue = queue(SECOND);
        assert_eq!(admitted(&mut queue, address(1)), 76);
        assert_eq!(admitted(&mut queue, address(2)), 25, "until the whole queue is full");
        drain(&mut queue);
    }

    #[test]
    fn jobs_are_returned_in_order_of_arrival() {
        let mut queue = queue(SECOND);
        let now = Instant::now();
        for job in 0..20 {
            queue.admit(job, u64::from(job), address(job % 3), now).unwrap();
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.next(now)).map(|next| next.job).collect();
        assert_eq!(order, (0..20).collect::<Vec<_>>());
        drain(&mut queue);
    }

    #[test]
    fn a_job_that_waited_twice_the_limit_is_late() {
        for (limit, patience) in [(SECOND, 2 * SECOND), (3 * SECOND, 6 * SECOND), (Duration::ZERO, SECOND)] {
            let mut queue = queue(limit);
            let now = Instant::now();
            for waited in [patience, patience + MILLISECOND] {
                queue.admit(0, TEN_MS, None, now).unwrap();
                let late = queue.next(now + waited).unwrap().late;
                assert_eq!(late, (waited > patience).then_some(SECOND), "{limit:?} {waited:?}");
            }
        }
    }

    #[test]
    fn timings_of_small_jobs_do_not_distort_those_of_large_ones() {
        let mut queue = queue::<u8>(SECOND);
        queue.learn(1_000_000, SECOND);
        // The overhead of a small job is ten times its work.
        queue.learn(10, Duration::from_micros(100));
        let expected = queue.wait_of(1_000_000);
        assert!(expected < SECOND * 11 / 10, "{expected:?}");
        for _ in 0..100 {
            queue.learn(1_000_000, 2 * SECOND);
        }
        let expected = queue.wait_of(1_000_000);
        assert!(expected > SECOND * 19 / 10, "{expected:?}");
    }

    proptest::proptest! {
        #[test]
        fn each_admitted_job_is_returned_once_and_nothing_remains(
            steps in proptest::collection::vec((0..4_u8, 0..1_000_000_u64, 0..3_u8, 0..4_usize), 0..200)
        ) {
            let mut queue = queue(SECOND);
            let now = Instant::now();
            let mut expected = VecDeque::new();
            for (job, (step, work, from, threads)) in steps.into_iter().enumerate() {
                queue.threads = threads;
                match step {
                    0 => proptest::prop_assert_eq!(queue.next(now).map(|next| next.job), expected.pop_front()),
                    1 => queue.learn(work, Duration::from_micros(work)),
                    _ => {
                        let from = (from > 0).then_some(IpAddr::from([192, 0, 2, from]));
                        if queue.admit(job, work, from, now).is_ok() {
                            expected.push_back(job);
                        }
                    }
                }
                proptest::prop_assert_eq!(queue.work, queue.jobs.iter().map(|waiting| waiting.work).sum::<u64>());
                proptest::prop_assert_eq!(queue.work, queue.work_of.values().sum::<u64>());
            }
        }
    }
}
