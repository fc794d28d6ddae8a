//! The kit names the broken clause of a store with one fault, and passes stores without faults.

mod broken;

use std::{
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use tokio::runtime::{Builder, Runtime};
use tower_oauth2_password::store::MemoryAttemptStore;
use tower_oauth2_password_testkit::{self as testkit, Job};

use self::broken::{attempts, deny_list, refresh};

fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

fn spawn(job: Job) {
    tokio::spawn(job);
}

/// What the kit says about a store, if it finds a broken clause.
fn verdict(run: impl AsyncFnOnce()) -> Option<String> {
    let runtime = threads();
    let panic = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run()))).err()?;
    Some(panic.downcast_ref::<String>().expect("the kit panics with a message").clone())
}

#[track_caller]
fn assert_names(clause: &str, fault: &dyn Debug, said: Option<String>) {
    let said = said.unwrap_or_else(|| panic!("{fault:?} was not caught"));
    assert!(said.contains(clause), "{fault:?} was caught, but as: {said}");
}

fn each_is_caught<F: Copy + Debug + Send>(faults: &[(F, &str)], check: impl Fn(F) -> Option<String> + Sync) {
    let check = &check;
    std::thread::scope(|scope| {
        let checks: Vec<_> = faults.iter().map(|&(fault, _)| scope.spawn(move || check(fault))).collect();
        for (check, (fault, clause)) in checks.into_iter().zip(faults) {
            assert_names(clause, fault, check.join().unwrap());
        }
    });
}

#[test]
fn faults_of_refresh_stores_are_caught() {
    use refresh::Fault::*;
    let faults = [
        (InventsFamilies, "an unknown family is gone"),
        (AnswersMismatchForGone, "an unknown family is gone"),
        (CountsNobodys, "an unknown family is gone, and revoking it is no error"),
        (LosesTheScope, "`find` returns what `insert` was given (scope"),
        (LosesTheServer, "`find` returns what `insert` was given (server"),
        (LosesTheSession, "`find` returns what `insert` was given (session"),
        (TellsNoLogin, "`find` returns what `insert` was given (the age"),
        (IgnoresServers, "another than the same subject of another server"),
        (IgnoresEndedSubjects, "a login that was verified before the subject was ended"),
        (KeepsAllSessions, "loses its oldest"),
        (LosesTheStamp, "`find` returns what `insert` was given (security_stamp"),
        (KeepsAsciiStamps, "`find` returns what `insert` was given (security_stamp"),
        (CutsClientsAtBars, "`find` returns what `insert` was given (client_id"),
        (KeepsOneLifetime, "`find` returns what `insert` was given (idle_ttl"),
        (ChangesAByte, "`find` returns what `insert` was given (another current secret"),
        (BeginsWithAPredecessor, "`find` returns what `insert` was given (a predecessor"),
        (UsesUp, "`find` does not use a family up"),
        (LosesTheSuccessor, "a rotation makes the successor current"),
        (LosesThePredecessor, "keeps the presented secret with what was sealed (there is no predecessor"),
        (NamesAnotherPredecessor, "keeps the presented secret with what was sealed (the predecessor is another"),
        (LosesWhatWasSealed, "keeps the presented secret with what was sealed"),
        (AcceptsAnySecret, "a secret that is not current is a mismatch"),
        (EndsTheFamilyOnMismatch, "leaves the family as it is"),
        (MismatchReplacesThePredecessor, "leaves the family as it is (the predecessor is another"),
        (MismatchReplacesWhatWasSealed, "leaves the family as it is (the predecessor is another"),
        (SharesFamilies, "families are independent"),
        (NeverRevokes, "a revoked family stays gone"),
        (RevokesSubjectsInPart, "`revoke_subject` ends all families"),
        (RevokesOthersToo, "of this subject alone"),
        (CountsTooMany, "counts those that were there"),
        (ListsTheOldestFirst, "`list` returns the families of this subject, the newest first"),
        (ListsTheNewestOnly, "`list` returns the families of this subject, the newest first"),
        (RevokesTheExceptionToo, "`revoke_subject` keeps the family that is excepted"),
        (IgnoresDeadlines, "comes after its deadline"),
        (ReadsThenWrites, "exactly one is answered `Rotated`"),
        (RotationUndoesRevocation, "a revocation that was answered holds"),
        (HalfDoneWhenDropped, "never half done"),
        (TellsTheWholeLifetime, "what is left of the absolute lifetime"),
        (TellsNoAge, "how old the predecessor is"),
        (NeverEnds, "for its absolute lifetime and no longer"),
        (EndsTooEarly, "for its absolute lifetime and no longer"),
        (NeverEndsUnused, "for its idle lifetime and no longer"),
        (LookingIsUse, "looking or a mismatch is no use"),
        (UseExtendsTheLifetime, "no use makes a family live longer"),
        (UseLeavesTheIdleLifetime, "a rotation restarts the idle lifetime"),
        (KeepsFlatClaims, "for a second factor, claims of two kilobytes and of any JSON come back"),
        (KeepsNumbersAsFloats, "for a second factor, claims of two kilobytes and of any JSON come back"),
        (LosesLongClaims, "for a second factor, claims of two kilobytes and of any JSON come back"),
        (CountsAllServers, "one more ends the oldest, and no session"),
        (EndsLoginsThatWait, "for a second factor, a session that begins ends no login that waits"),
        (CutsServersAtLines, "the end of logins that wait, of devices or of sessions ends nothing else"),
        (KeepsLifetimesAs32Bits, "a login waits for five minutes, and a device is trusted for up to a year"),
    ];
    each_is_caught(&faults, |fault| verdict(async || testkit::refresh_store(refresh::broken(fault)).await));
}

#[test]
fn faults_of_attempt_stores_are_caught() {
    use attempts::Fault::*;
    let faults = [
        (IgnoresOpenChecks, "failures and open reservations together never exceed the limit"),
        (LetsOneInUnderALimitOfNone, "under a limit of 0 failures no place is given"),
        (CountsWhatWasReleased, "`Released` gives the place back"),
        (ReleasesAgain, "a place is given back once"),
        (SuccessClearsNothing, "forgets the failures"),
        (SuccessEndsOtherChecks, "but no other check under way"),
        (IgnoresUnknownFailures, "`Failed` with an unknown id still counts"),
        (IgnoresUnknownSuccesses, "`Succeeded` with an unknown id still clears"),
        (SharesKeysAtTheStart, "keys are independent"),
        (SharesKeysAtTheEnd, "keys are independent"),
        (IgnoresDeadlines, "comes after its deadline"),
        (ReadsThenWrites, "of many reservations at once"),
        (FailsInTwoSteps, "at most as many attempts fail at once as the limit allows"),
        (HeldTriesCount, "failure stops counting"),
        (EndsAHoldEarly, "a hold lasts until the failure stops counting"),
        (TellsTheWholeWindow, "`retry_after` tells when the oldest failure stops counting"),
        (FixesTheWindow, "each failure counts for the window from its own settlement"),
        (AbandonsAnother, "abandoning an unknown id gives no place back"),
        (AbandonForgetsFailures, "abandoning leaves the failures as they are"),
    ];
    each_is_caught(&faults, |fault| verdict(async || testkit::attempt_store(attempts::broken(fault)).await));
}

#[test]
fn a_lease_that_also_ends_failures_is_caught() {
    let start = Instant::now();
    let store = MemoryAttemptStore::new().with_clock(move || start.elapsed() * 20);
    let fault = attempts::Fault::ForgetsFailuresWithTheLease;
    let said = verdict(async || testkit::attempt_store_lease(attempts::around(store, fault)).await);
    assert_names("leaves the failures as they are", &fault, said);
}

#[test]
fn faults_of_deny_lists_are_caught() {
    use deny_list::Fault::*;
    let faults = [
        (DeniesAll, "a token that nobody denied is not denied"),
        (FoldsNames, "a token that nobody denied is not denied"),
        (ForgetsDenials, "a denied token is denied at once"),
        (ForgetsLongNames, "a denied token is denied at once"),
        (KeepsTen, "a denied token is denied at once (one of many was forgotten"),
        (EndsTooEarly, "a token is remembered for its time and no longer"),
        (NeverEnds, "a token is remembered for its time and no longer"),
        (DeniesEachOnce, "a token that was forgotten cannot be denied again"),
        (KeepsTheFirstTime, "is remembered for the longer time"),
        (KeepsTheLastTime, "is remembered for the longer time"),
        (IgnoresDeadlines, "comes after its deadline"),
        (IgnoresSessions, "all tokens of a denied session are denied"),
        (IgnoresSubjects, "tokens of a denied subject that are from before the moment"),
        (KeepsAllOfOneSubject, "a hundred entries of one subject are kept"),
    ];
    each_is_caught(&faults, |fault| verdict(async || testkit::deny_list(deny_list::broken(fault)).await));
}

#[test]
fn faults_between_processes_that_share_a_deny_list_are_caught() {
    use deny_list::Fault::*;
    let faults = [
        (ForgetsDenials, "within a second in every process"),
        (DeniesAll, "within a second in every process that shares the store (an unknown token"),
        (EndsTooEarly, "every process forgets a token after its time"),
        (NeverEnds, "every process forgets a token after its time"),
    ];
    each_is_caught(&faults, |fault| {
        let one = deny_list::broken(deny_list::Fault::None);
        let other = if fault == ForgetsDenials { deny_list::broken(fault) } else { one.beside(fault) };
        verdict(async || testkit::deny_list_shared(one, other).await)
    });
}

#[test]
fn races_between_threads_are_caught_in_parallel() {
    let said = verdict(async || {
        testkit::refresh_store_in_parallel([refresh::RacingRefreshStore::default()], spawn).await;
    });
    assert_names("exactly one is answered `Rotated`", &"a race", said);
    let said = verdict(async || {
        testkit::attempt_store_in_parallel([attempts::RacingAttemptStore::default()], spawn).await;
    });
    assert_names("of many reservations at once", &"a race", said);
}

#[test]
fn stores_without_a_fault_pass() {
    let runtime = threads();
    runtime.block_on(testkit::refresh_store(refresh::broken(refresh::Fault::None)));
    runtime.block_on(testkit::attempt_store(attempts::broken(attempts::Fault::None)));
    let list = deny_list::broken(deny_list::Fault::None);
    runtime.block_on(testkit::deny_list(list.clone()));
    runtime.block_on(testkit::deny_list_shared(list.clone(), list));
}
