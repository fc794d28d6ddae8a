//! After its login a password, a client's secret or a token is nowhere in this process's memory, nor what hashing left, as
//! far as this crate had it in its hands.
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
    slice::from_ref,
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::sync::Mutex;
use tower::ServiceExt;
use tower_oauth2_password::{
    Argon2Params, Client, HashingPool, Jwt, Key, Leaf, MemoryUsers, PasswordVerifier, RefreshTokens, ResponseBody,
    Secret, StaticClients, TokenEndpointLayer, store::MemoryRefreshStore,
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

/// The middle of the password, plain and encoded.
fn forms(masked: &[u8; LENGTH]) -> [Vec<u8>; 2] {
    let middle = &masked[12..28];
    [middle.to_vec(), encoded(middle)]
}

/// How often one of these masked texts is in memory that can be written.
fn copies(wanted: &[Vec<u8>]) -> usize {
    let overlap = wanted.iter().map(Vec::len).max().unwrap() - 1;
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
            // Masked and without what this buffer held before, so that it does not count itself.
            let own = piece.as_ptr() as u64..piece.as_ptr() as u64 + piece.len() as u64;
            for (byte, at) in piece[..size].iter_mut().zip(at..) {
                *byte = if own.contains(&at) { 0 } else { *byte ^ MASK };
            }
            let count =
                |wanted: &Vec<u8>| piece[..size].windows(wanted.len()).filter(|window| window == wanted).count();
            found += wanted.iter().map(count).sum::<usize>();
            // What lies across two pieces is seen in the second.
            at += if at + (size as u64) < end { size - overlap } else { size } as u64;
        }
    }
    found
}

/// A buffer of which nothing is left, and no copy was left while it grew.
fn unmasked(masked: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(masked.len()));
    text.extend(masked.iter().map(|byte| byte ^ MASK));
    text
}

async fn post(endpoint: &Leaf, form: &[u8], masked: &[u8]) -> Response<ResponseBody<String>> {
    let mut body = Zeroizing::new(Vec::with_capacity(512));
    body.extend(form);
    body.extend(masked.iter().map(|byte| byte ^ MASK));
    let request = Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from_owner(body)))
        .unwrap();
    endpoint.clone().oneshot(request).await.unwrap()
}

async fn log_in(endpoint: &Leaf, masked: &[u8; LENGTH]) -> u16 {
    post(endpoint, b"grant_type=password&username=alice&password=", &encoded(masked)).await.status().as_u16()
}

fn jwt() -> Jwt {
    Jwt::new(Key::hs256([7; 32]).unwrap(), "i", "a")
}

async fn endpoint(pool: HashingPool, hash: &str) -> TokenEndpointLayer {
    let users = MemoryUsers::from_phc([("alice", hash, "")]).unwrap();
    TokenEndpointLayer::new(PasswordVerifier::new(users).with_pool(pool), jwt())
}

fn pool(memory: u32) -> HashingPool {
    HashingPool::new().with_threads(1).with_params(Argon2Params::new(memory, 1, 1).unwrap())
}

fn secret(masked: &[u8]) -> Secret {
    Secret::from(std::str::from_utf8(&unmasked(masked)).unwrap())
}

/// Each test looks at the memory of all, and holds for a moment what the others must not have.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn a_password_is_nowhere_after_its_login() {
    let _alone = ALONE.lock().await;
    let pool = pool(64);
    let password = masked(1);
    let kept = secret(&password);
    assert!(copies(&forms(&password)) >= 1, "the search finds nothing that is there");
    let hash = pool.hash(kept).await.unwrap();
    let endpoint = endpoint(pool, &hash).await.into_service();
    for _ in 0..5 {
        assert_eq!(log_in(&endpoint, &password).await, 200);
    }
    let wrong = masked(2);
    assert_eq!(log_in(&endpoint, &wrong).await, 400);
    let left = [&password, &wrong].map(|password| copies(&forms(password)));
    assert_eq!(left, [0, 0], "copies are left of the right and of the wrong password");
}

#[tokio::test]
async fn a_token_or_client_secret_is_nowhere_after_its_use() {
    let _alone = ALONE.lock().await;
    let pool = pool(64);
    let (password, client_secret) = (masked(3), masked(4));
    let hash = pool.hash(secret(&password)).await.unwrap();
    let kept = secret(&client_secret);
    let client = Client::confidential("web", kept.expose());
    drop(kept);
    let endpoint = endpoint(pool, &hash)
        .await
        .with_clients(StaticClients::new([client]))
        .with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()))
        .into_service();
    let credentials = [encoded(&client_secret), b"&password=".map(|byte| byte ^ MASK).to_vec(), encoded(&password)];
    let form = b"grant_type=password&username=alice&client_id=web&client_secret=";
    let reply = post(&endpoint, form, &credentials.concat()).await;
    assert_eq!(reply.status(), 200);
    let mut tokens = tokens(reply).await;
    for _ in 0..3 {
        let form = b"grant_type=refresh_token&client_id=web&client_secret=";
        let credentials = [encoded(&client_secret), b"&refresh_token=".map(|byte| byte ^ MASK).to_vec(), tokens.1];
        let reply = post(&endpoint, form, &credentials.concat()).await;
        assert_eq!(reply.status(), 200);
        tokens = self::tokens(reply).await;
    }
    assert_eq!(copies(&forms(&client_secret)), 0, "copies of the client's secret");
    let middle = |token: &[u8]| token[token.len() - 40..token.len() - 8].to_vec();
    assert_eq!(copies(&[middle(&tokens.1)]), 0, "copies of the refresh token");
    assert_eq!(copies(&[middle(&tokens.0)]), 0, "copies of the access token");
}

/// The access and the refresh token of a reply, masked.
async fn tokens(reply: Response<ResponseBody<String>>) -> (Vec<u8>, Vec<u8>) {
    let mut body = reply.into_body();
    let text = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let member = |name: &[u8]| {
        let start = text.windows(name.len()).position(|window| window == name).unwrap() + name.len();
        let masked = text[start..].iter().take_while(|byte| **byte != b'"').map(|byte| byte ^ MASK);
        masked.collect::<Vec<_>>()
    };
    let tokens = (member(b"access_token\":\""), member(b"refresh_token\":\""));
    assert!(
        copies(from_ref(&tokens.0)) >= 1 && copies(from_ref(&tokens.1)) >= 1,
        "the search finds nothing that is there"
    );
    tokens
}

#[tokio::test]
async fn what_a_hash_leaves_in_memory_is_overwritten_when_nothing_is_hashed() {
    let _alone = ALONE.lock().await;
    let (pool, password) = (pool(1_024), masked(5));
    let hash = pool.hash(secret(&password)).await.unwrap();
    let stored = PasswordHash::new(&hash).unwrap();
    let mut blocks = vec![Block::new(); 1_024];
    let params = Params::try_from(&stored).unwrap();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(&unmasked(&password), stored.salt.unwrap().as_ref(), &mut [0; 32], &mut blocks)
        .unwrap();
    let block: &[u64] = blocks[512].as_ref();
    let wanted: Vec<u8> = block[..4].iter().flat_map(|word| word.to_ne_bytes()).map(|byte| byte ^ MASK).collect();
    assert!(copies(from_ref(&wanted)) >= 1, "the search finds nothing that is there");
    blocks.fill(Block::new());

    let endpoint = endpoint(pool, &hash).await.into_service();
    assert_eq!(log_in(&endpoint, &password).await, 200);
    let end = Instant::now() + Duration::from_secs(60);
    while copies(from_ref(&wanted)) > 0 {
        assert!(Instant::now() < end, "the memory of the last hash is kept");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
