//! Names that nobody has cost what rows cost, in the configured shares.

use std::collections::HashMap;

use tower_oauth2_password::HashSchemes;

use super::*;

const PBKDF2: Cost = Cost::Pbkdf2(Prf::Sha256, 1_000);
const SHARES: [(u32, Cost); 3] = [(6, Cost::Bcrypt(4)), (3, PBKDF2), (1, Cost::Current)];

/// How a check is printed tells its work.
fn cost(old_hashes: &OldHashes, name: &str) -> String {
    old_hashes.read(name, None).map_or("current".to_owned(), |check| format!("{:?}", check.unwrap()))
}

fn names() -> impl Iterator<Item = String> {
    (0..10_000).map(|number| format!("user-{number}"))
}

#[test]
fn strangers_have_the_configured_shares() {
    let old_hashes = OldHashes::new(KEY, SHARES).unwrap();
    let mut counts = HashMap::new();
    for name in names() {
        *counts.entry(cost(&old_hashes, &name)).or_insert(0_u32) += 1;
    }
    let mut counts: Vec<u32> = counts.into_values().collect();
    counts.sort_unstable();
    // Six standard deviations.
    for (count, expected) in counts.iter().zip([1_000_u32, 3_000, 6_000]) {
        assert!(count.abs_diff(expected) < 300, "{counts:?}");
    }
    assert_eq!(counts.len(), 3);
}

#[test]
fn a_name_costs_the_same_in_every_process() {
    let [one, other] = [OldHashes::new(KEY, SHARES).unwrap(), OldHashes::new(KEY, SHARES).unwrap()];
    for name in names() {
        assert_eq!(cost(&one, &name), cost(&other, &name), "{name}");
    }
    // After a restart with another build, too.
    let costs: Vec<bool> = names().map(|name| cost(&one, &name) == "current").take(16).collect();
    let current: Vec<usize> = (0..16).filter(|number| costs[*number]).collect();
    assert_eq!(current, [4, 6]);
}

#[test]
fn who_has_another_key_cannot_tell_what_a_name_costs() {
    let [one, other] = [KEY, [8; 32]].map(|key| OldHashes::new(key, [(1, PBKDF2), (1, Cost::Current)]).unwrap());
    let equal = names().filter(|name| cost(&one, name) == cost(&other, name)).count();
    assert!((4_700..5_300).contains(&equal), "{equal}");
}

#[test]
fn strangers_only_move_to_current_when_old_rows_grow_fewer() {
    let [before, after] =
        [(9, 1), (30, 70)].map(|(old, new)| OldHashes::new(KEY, [(old, PBKDF2), (new, Cost::Current)]).unwrap());
    let moves = names().map(|name| (cost(&before, &name) == "current", cost(&after, &name) == "current"));
    let moves: Vec<_> = moves.collect();
    assert!(!moves.contains(&(true, false)));
    assert!(moves.contains(&(false, true)));
}

#[tokio::test]
async fn a_stranger_costs_one_hash() {
    let table = Table::read_by(OldHashes::new(KEY, SHARES).unwrap(), "alice", "");
    for name in names().take(30) {
        let before = table.pool.stats().hashed;
        let verdict = table.verifier.verify(Login::new(&name, "any")).await.unwrap();
        assert!(matches!(verdict, Verdict::Denied), "{name}");
        assert_eq!(table.pool.stats().hashed, before + 1, "{name}");
    }
}

#[test]
fn wrong_costs_fail_when_built() {
    for (key, costs, said) in [
        (&KEY[..15], vec![(1, Cost::Current)], "16 random bytes"),
        (&KEY[..0], vec![(1, Cost::Current)], "16 random bytes"),
        (&KEY, vec![], "count the rows"),
        (&KEY, vec![(0, Cost::Current), (0, Cost::Bcrypt(12))], "count the rows"),
        (&KEY, vec![(1, Cost::Bcrypt(15))], "bcrypt 14"),
        (&KEY, vec![(1, Cost::Current), (1, Cost::Bcrypt(3))], "Bcrypt(3)"),
        (&KEY, vec![(1, Cost::Pbkdf2(Prf::Sha1, 2_000_001))], "2000000 rounds"),
        (&KEY, vec![(1, Cost::Pbkdf2(Prf::Sha512, 0))], "Pbkdf2(Sha512, 0)"),
        (&KEY, vec![(1, Cost::Scrypt { log_n: 18, r: 8, p: 1 })], "128 MiB"),
        (&KEY, vec![(1, Cost::Argon2 { m: 262_145, t: 1, p: 1 })], "m=262144"),
    ] {
        let error = OldHashes::new(key, costs.clone()).unwrap_err().to_string();
        assert!(error.contains(said), "{costs:?}: {error}");
    }
    let largest = [
        Cost::Current,
        Cost::Bcrypt(14),
        Cost::Pbkdf2(Prf::Sha1, 2_000_000),
        Cost::Scrypt { log_n: 17, r: 8, p: 1 },
        Cost::Argon2 { m: 262_144, t: 10, p: 16 },
    ];
    assert!(OldHashes::new(KEY, largest.map(|cost| (u32::MAX, cost))).is_ok());
    for (prf, rounds, salt) in
        [(Prf::Sha256, 0, 8), (Prf::Sha256, 1, 0), (Prf::Sha256, 1, 65), (Prf::Sha256, 1, usize::MAX)]
    {
        assert!(Pbkdf2Settings::new(prf, rounds, salt).is_err(), "{rounds} {salt}");
    }
}

#[test]
fn debug_output_holds_no_key_and_no_secret() {
    let settings = Pbkdf2Settings::new(Prf::Sha256, 1, 8).unwrap().with_secret("pepper");
    let printed =
        format!("{:?}", OldHashes::new(b"sixteen bytes or more", SHARES).unwrap().with_spring_pbkdf2(settings));
    assert!(printed.contains("Bcrypt(4)") && printed.contains("8 bytes of salt"), "{printed}");
    assert!(!printed.contains("pepper") && !printed.contains("sixteen") && !printed.contains("115"), "{printed}");
}
