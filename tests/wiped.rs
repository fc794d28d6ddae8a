//! After its login a password is nowhere in this process's memory, as far as this crate had it in its hands.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower::ServiceExt;
use tower_oauth2_password::{
    Argon2Params, HashingPool, Jwt, Key, Leaf, MemoryUsers, PasswordVerifier, Secret, TokenEndpointLayer,
};
use zeroize::Zeroizing;

const LENGTH: usize = 40;
const MASK: u8 = 0x5A;

/// The password, masked, so that looking for it does not put it where it is looked for.
fn masked(number: u8) -> [u8; LENGTH] {
    std::array::from_fn(|at| (b'!' + ((at * 37 + usize::from(number) * 11) % 90) as u8) ^ MASK)
}

/// The same, percent-encoded.
fn encoded(masked: &[u8]) -> Vec<u8> {
    let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)] ^ MASK;
    masked.iter().flat_map(|byte| [b'%' ^ MASK, digit((byte ^ MASK) >> 4), digit((byte ^ MASK) & 15)]).collect()
}

/// How often the middle of the password, plain or encoded, is in memory that can be written.
fn copies(masked: &[u8; LENGTH]) -> usize {
    let middle = &masked[12..28];
    let encoded = encoded(middle);
    let overlap = encoded.len() - 1;
    let memory = File::open("/proc/self/mem").unwrap();
    let mut found = 0;
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        let mut piece = Zeroizing::new(vec![0; 1 << 16]);
        let mut at = start;
        while at < end {
            let size = piece.len().min((end - at) as usize);
            if memory.read_exact_at(&mut piece[..size], at).is_err() {
                break;
            }
            // Masked, so that this buffer does not count itself.
            piece[..size].iter_mut().for_each(|byte| *byte ^= MASK);
            found += [middle, &encoded]
                .map(|wanted| piece[..size].windows(wanted.len()).filter(|window| *window == wanted).count())
                .iter()
                .sum::<usize>();
            // What lies across two pieces is seen in the second.
            at += if at + (size as u64) < end { size - overlap } else { size } as u64;
        }
    }
    found
}

async fn log_in(endpoint: &Leaf, masked: &[u8; LENGTH]) -> u16 {
    let mut body = Zeroizing::new(Vec::with_capacity(256));
    body.extend(b"grant_type=password&username=alice&password=");
    body.extend(encoded(masked).iter().map(|byte| byte ^ MASK));
    let request = Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from_owner(body)))
        .unwrap();
    endpoint.clone().oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_password_is_nowhere_after_its_login() {
    let pool = HashingPool::new().with_threads(1).with_params(Argon2Params::new(64, 1, 1).unwrap());
    let password = masked(1);
    let mut text = Zeroizing::new(Vec::with_capacity(LENGTH));
    text.extend(password.iter().map(|byte| byte ^ MASK));
    let kept = Secret::from(std::str::from_utf8(&text).unwrap());
    drop(text);
    assert!(copies(&password) >= 1, "the search finds nothing that is there");
    let hash = pool.hash(kept).await.unwrap();

    let users = MemoryUsers::from_phc([("alice", hash.as_str(), "")]).unwrap();
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "i", "a");
    let endpoint = TokenEndpointLayer::new(PasswordVerifier::new(users).with_pool(pool), jwt).into_service();
    for _ in 0..5 {
        assert_eq!(log_in(&endpoint, &password).await, 200);
    }
    let wrong = masked(2);
    assert_eq!(log_in(&endpoint, &wrong).await, 400);
    assert_eq!((copies(&password), copies(&wrong)), (0, 0), "copies are left of the right and of the wrong password");
}
