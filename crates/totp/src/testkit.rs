//! The contract of [`FactorTable`], for tests of your own table.

use futures_util::future::join_all;
use tower_oauth2_password::BoxError;

use crate::{recovery::RecoveryCodes, secret::TotpSecret, table::FactorTable};

/// How many calls a race has.
const MANY: usize = 16;

/// Checks a [`FactorTable`] against its contract. The races run in one task: they expose a table that reads, awaits, and then
/// writes. It enrols the subjects `testkit 1` and `testkit 2`; if your rows belong to users, create these first.
///
/// # Errors
/// When a call fails.
///
/// # Panics
/// When a clause of the contract is broken.
///
/// ```
/// use tower_oauth2_password_totp::{MemoryFactors, testkit};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// testkit::factor_table(&MemoryFactors::new()).await?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
pub async fn factor_table(table: &impl FactorTable) -> Result<(), BoxError> {
    let [one, two] = ["testkit 1", "testkit 2"];
    for subject in [one, two] {
        require(!has_secret(table, subject, None).await?, "a user who never enrolled has no secret");
        require(!table.use_step(subject, 1).await?, "no step is right for a user without a second factor");
    }
    let (secret, other) = (TotpSecret::generate()?, TotpSecret::generate()?);
    let [codes, others] = [RecoveryCodes::generate(10)?.hashes(), RecoveryCodes::generate(10)?.hashes()];
    table.enroll(one, &secret, 100, &codes).await?;
    require(has_secret(table, one, Some(&secret)).await?, "`secret` returns what `enroll` wrote");
    require(!has_secret(table, two, None).await?, "each subject is on its own: `enroll` changed another");
    table.enroll(two, &other, 100, &others).await?;
    steps(table, one, two).await?;

    let [first, second, third, ..] = codes.as_slice() else { return Ok(()) };
    let fresh = RecoveryCodes::generate(2)?.hashes();
    let [successor, unused] = fresh.as_slice() else { return Ok(()) };
    require(!table.use_recovery_code(two, first, None).await?, "the recovery code of another user is wrong");
    require(!table.use_recovery_code(one, unused, None).await?, "a recovery code that nobody has is wrong");
    require(table.use_recovery_code(one, first, None).await?, "a recovery code is right once");
    require(!table.use_recovery_code(one, first, None).await?, "a recovery code is right once, and not twice");
    require(table.use_recovery_code(one, second, Some(successor)).await?, "a code that gets a successor is right once");
    require(!table.use_recovery_code(one, second, None).await?, "a code that has a successor is used up");
    require(!table.use_recovery_code(one, second, Some(unused)).await?, "a used code is wrong");
    require(!table.use_recovery_code(one, unused, None).await?, "a wrong code gets no successor");
    require(table.use_recovery_code(one, successor, None).await?, "a successor is right once");
    let calls = join_all((0..MANY).map(|_| table.use_recovery_code(one, third, None))).await;
    require(wins(calls)? == 1, "`use_recovery_code` is one atomic step: of many calls at once one returns true");

    // Again, with a secret and codes of its own.
    let (new, codes) = (TotpSecret::generate()?, RecoveryCodes::generate(1)?.hashes());
    table.enroll(two, &new, 50, &codes).await?;
    require(has_secret(table, two, Some(&new)).await?, "`enroll` replaces the secret");
    require(!table.use_step(two, 50).await? && table.use_step(two, 51).await?, "`enroll` replaces the last step");
    for code in &others {
        require(!table.use_recovery_code(two, code, None).await?, "`enroll` replaces the recovery codes");
    }
    for code in &codes {
        require(table.use_recovery_code(two, code, None).await?, "`enroll` writes the recovery codes");
    }
    require(has_secret(table, one, Some(&secret)).await?, "each subject is on its own: `enroll` changed another");
    Ok(())
}

/// The clauses on steps. Both users enrolled with step 100.
async fn steps(table: &impl FactorTable, one: &str, two: &str) -> Result<(), BoxError> {
    for step in [0, 99, 100] {
        require(!table.use_step(one, step).await?, "a step that is not later than the last is wrong");
    }
    require(table.use_step(one, 102).await?, "a later step is right");
    for step in [101, 102] {
        require(!table.use_step(one, step).await?, "a step that is not later than the last is wrong");
    }
    require(table.use_step(two, 101).await?, "each subject is on its own: a step of one was used up by another");
    let calls = join_all((0..MANY).map(|_| table.use_step(one, 103))).await;
    require(wins(calls)? == 1, "`use_step` is one atomic step: of many calls at once one returns true");
    // The year 6053.
    require(table.use_step(one, 1 << 32).await?, "steps have more than 32 bits");
    require(!table.use_step(one, 104).await?, "a step that is not later than the last is wrong");
    Ok(())
}

async fn has_secret(table: &impl FactorTable, subject: &str, expected: Option<&TotpSecret>) -> Result<bool, BoxError> {
    let found = table.secret(subject).await?;
    Ok(match (found, expected) {
        (Some(found), Some(expected)) => found.0 == expected.0,
        (found, _) => found.is_some(),
    })
}

fn wins(calls: Vec<Result<bool, BoxError>>) -> Result<usize, BoxError> {
    let answers: Vec<bool> = calls.into_iter().collect::<Result<_, _>>()?;
    Ok(answers.into_iter().filter(|won| *won).count())
}

#[track_caller]
#[allow(clippy::panic, reason = "a test fails this way")]
fn require(holds: bool, clause: &str) {
    if !holds {
        panic!("the contract of FactorTable is broken: {clause}");
    }
}
