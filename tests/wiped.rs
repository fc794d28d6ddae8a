//! After use, this process's memory holds no password, client secret or token, and no remains of a hash, as far as this
//! crate owned the copies.
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
    convert::Infallible,
    fs::{self, File},
    os::unix::fs::FileExt,
    slice::from_ref,
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::sync::Mutex;
use tower::ServiceExt;
use tower_oauth2_password::{
    Argon2Params, AuthorizationServer, Client, HashingPool, Jwt, Key, MemoryUsers, PasswordVerifier, RefreshTokens,
    ResponseBody, Secret, StandaloneService, StaticClients, store::MemoryRefreshStore,
};
use zeroize::{Zeroize, Zeroizing};

const LENGTH: usize = 40;
const MASK: u8 = 0x5A;

/// A password that needs no form encoding. It is masked, so that the search does not find its own pattern.
fn masked(number: u8) -> [u8; LENGTH] {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    std::array::from_fn(|at| LETTERS[(at * 37 + usize::from(number) * 11) % LETTERS.len()] ^ MASK)
}

/// The same, with its middle byte percent-encoded.
fn encoded_in_the_middle(masked: &[u8; LENGTH]) -> Vec<u8> {
    let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)] ^ MASK;
    let (start, rest) = masked.split_at(LENGTH / 2);
    let byte = rest[0] ^ MASK;
    [start, &[b'%' ^ MASK, digit(byte >> 4), digit(byte & 15)], &rest[1..]].concat()
}

/// The middle of the password.
fn middle(masked: &[u8; LENGTH]) -> Vec<u8> {
    masked[12..28].to_vec()
}

/// How many times writable memory contains one of these masked texts.
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
            // Masks the piece and zeroes this buffer's own bytes, so that the search does not count itself.
            let own = piece.as_ptr() as u64..piece.as_ptr() as u64 + piece.len() as u64;
            for (byte, at) in piece[..size].iter_mut().zip(at..) {
                *byte = if own.contains(&at) { 0 } else { *byte ^ MASK };
            }
            let count =
                |wanted: &Vec<u8>| piece[..size].windows(wanted.len()).filter(|window| window == wanted).count();
            found += wanted.iter().map(count).sum::<usize>();
            // A match across two pieces is found in the second.
            at += if at + (size as u64) < end { size - overlap } else { size } as u64;
        }
    }
    found
}

/// A buffer that is wiped on drop and never grows, so it leaves no copy.
fn unmasked(masked: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(masked.len()));
    text.extend(masked.iter().map(|byte| byte ^ MASK));
    text
}

async fn post(endpoint: &StandaloneService, form: &[u8], masked: &[u8]) -> Response<ResponseBody<String>> {
    let mut body = Zeroizing::new(Vec::with_capacity(512));
    body.extend(form);
    body.extend(masked.iter().map(|byte| byte ^ MASK));
    let request = Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from_owner(body)))
        .unwrap();
    endpoint.clone().oneshot(request).await.unwrap()
}

async fn log_in(endpoint: &StandaloneService, masked: &[u8]) -> u16 {
    post(endpoint, b"grant_type=password&username=alice&password=", masked).await.status().as_u16()
}

fn endpoint(pool: HashingPool, hash: &str) -> AuthorizationServer {
    let users = MemoryUsers::from_phc([("alice", hash, "")]).unwrap();
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "i", "a");
    AuthorizationServer::new(PasswordVerifier::new(users).with_pool(pool), jwt)
}

fn pool(memory: u32) -> HashingPool {
    HashingPool::new().with_threads(1).with_params(Argon2Params::new(memory, 1, 1).unwrap())
}

fn secret(masked: &[u8]) -> Secret {
    Secret::from(std::str::from_utf8(&unmasked(masked)).unwrap())
}

/// Each test searches the memory of all, and holds secrets for a moment that the others must not find.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn a_password_is_nowhere_after_its_login() {
    let _alone = ALONE.lock().await;
    let pool = pool(64);
    let password = masked(1);
    let kept = secret(&password);
    assert!(copies(&[middle(&password)]) >= 1, "the search finds nothing that is there");
    let hash = pool.hash(kept, None).await.unwrap();
    let endpoint = endpoint(pool, &hash).token_endpoint().into_service();
    for _ in 0..5 {
        assert_eq!(log_in(&endpoint, &password).await, 200);
    }
    let wrong = masked(2);
    assert_eq!(log_in(&endpoint, &wrong).await, 400);
    let left = [&password, &wrong].map(|password| copies(&[middle(password)]));
    assert_eq!(left, [0, 0], "copies are left of the right and of the wrong password");
}

/// `form_urlencoded` decodes into its own growing buffer, which leaves the start of an encoded value behind.
#[tokio::test]
async fn an_encoded_password_is_nowhere_as_a_whole_after_its_login() {
    let _alone = ALONE.lock().await;
    let pool = pool(64);
    let password = masked(8);
    let hash = pool.hash(secret(&password), None).await.unwrap();
    let endpoint = endpoint(pool, &hash).token_endpoint().into_service();
    for _ in 0..5 {
        assert_eq!(log_in(&endpoint, &encoded_in_the_middle(&password)).await, 200);
    }
    let decoded = middle(&password);
    let sent = encoded_in_the_middle(&password)[12..28].to_vec();
    let end = password[LENGTH / 2..].to_vec();
    assert_eq!([decoded, sent, end].map(|text| copies(&[text])), [0, 0, 0]);
}

#[tokio::test]
async fn a_token_or_client_secret_is_nowhere_after_its_use() {
    let _alone = ALONE.lock().await;
    let pool = pool(64);
    let (password, client_secret) = (masked(3), masked(4));
    let hash = pool.hash(secret(&password), None).await.unwrap();
    let kept = secret(&client_secret);
    let client = Client::confidential("web", kept.expose());
    drop(kept);
    let endpoint = endpoint(pool, &hash)
        .with_clients(StaticClients::new([client]))
        .with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()))
        .token_endpoint()
        .into_service();
    let credentials = [&client_secret[..], &b"&password=".map(|byte| byte ^ MASK), &password[..]];
    let form = b"grant_type=password&username=alice&client_id=web&client_secret=";
    let reply = post(&endpoint, form, &credentials.concat()).await;
    assert_eq!(reply.status(), 200);
    let mut tokens = refresh_token(reply).await;
    for _ in 0..3 {
        let form = b"grant_type=refresh_token&client_id=web&client_secret=";
        let credentials = [&client_secret[..], &b"&refresh_token=".map(|byte| byte ^ MASK), &tokens[..]];
        let reply = post(&endpoint, form, &credentials.concat()).await;
        assert_eq!(reply.status(), 200);
        tokens = refresh_token(reply).await;
    }
    assert_eq!(copies(&[middle(&client_secret)]), 0, "copies of the client's secret");
    let end = tokens[tokens.len() - 40..tokens.len() - 8].to_vec();
    assert_eq!(copies(&[end]), 0, "copies of the refresh token");
}

#[tokio::test]
async fn a_token_in_a_cookie_is_nowhere_after_its_use() {
    let _alone = ALONE.lock().await;
    let pool = pool(64);
    let password = masked(9);
    let hash = pool.hash(secret(&password), None).await.unwrap();
    let endpoint = endpoint(pool, &hash)
        .with_clients(StaticClients::new([Client::public("spa").with_cookie()]))
        .with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()).with_cookie([]).unwrap())
        .endpoints()
        .into_service();
    let mut token: Option<Vec<u8>> = None;
    for (path, form) in [
        ("/token", &b"client_id=spa&grant_type=password&username=alice&password="[..]),
        ("/token", b"client_id=spa&grant_type=refresh_token"),
        ("/token", b"client_id=spa&grant_type=refresh_token"),
        ("/token", b"client_id=spa&grant_type=password&username=alice&password="),
        ("/revoke", b"client_id=spa"),
    ] {
        let mut body = Zeroizing::new(Vec::with_capacity(512));
        body.extend(form);
        if form.ends_with(b"=") {
            body.extend(&*unmasked(&password));
        }
        let mut request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin");
        if let Some(token) = &token {
            let mut cookie = Zeroizing::new(Vec::with_capacity(128));
            cookie.extend(b"__Host-refresh_token=");
            cookie.extend(&*unmasked(token));
            request = request.header("cookie", HeaderValue::from_maybe_shared(Bytes::from_owner(cookie)).unwrap());
        }
        let reply = endpoint.clone().oneshot(request.body(Full::new(Bytes::from_owner(body))).unwrap()).await.unwrap();
        assert_eq!(reply.status(), 200, "{path}");
        if path == "/token" {
            let field = reply.headers()["set-cookie"].as_bytes();
            let value = field.strip_prefix(b"__Host-refresh_token=").unwrap();
            token = Some(value[..64].iter().map(|byte| byte ^ MASK).collect());
            assert!(copies(from_ref(token.as_ref().unwrap())) >= 1, "the search finds nothing that is there");
        }
        drop(reply);
        let end = token.as_ref().unwrap()[24..56].to_vec();
        assert_eq!(copies(&[end]), 0, "copies of the token in the cookie");
    }
}

/// The refresh token of a reply, masked.
async fn refresh_token(reply: Response<ResponseBody<String>>) -> Vec<u8> {
    let mut body = reply.into_body();
    let text = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let name = b"refresh_token\":\"";
    let start = text.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    let token: Vec<u8> = text[start..].iter().take_while(|byte| **byte != b'"').map(|byte| byte ^ MASK).collect();
    assert!(copies(from_ref(&token)) >= 1, "the search finds nothing that is there");
    token
}

#[tokio::test]
async fn a_long_body_leaves_no_copy_while_it_is_read() {
    let _alone = ALONE.lock().await;
    let (pool, password) = (pool(64), masked(6));
    let hash = pool.hash(secret(&password), None).await.unwrap();
    let endpoint = endpoint(pool, &hash).with_body_limit(150_000).token_endpoint().into_service();
    let mut first = Zeroizing::new(Vec::with_capacity(51_000));
    // Far from the start of the buffer, which later small allocations would overwrite.
    first.extend(format!("grant_type=password&username=alice&first={}&password=", "x".repeat(50_000)).as_bytes());
    first.extend(password.iter().map(|byte| byte ^ MASK));
    let [second, third] = [70_000, 200_000].map(|length| Bytes::from(vec![b'x'; length]));
    let pieces = [Bytes::from_owner(first), second, third];
    // A leaked allocation behind the buffer keeps it from growing in place, and malloc from returning it to the system.
    let pieces = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece))).into_iter();
    let pieces = pieces.inspect(|_| _ = vec![0_u8; 100_000].leak());
    let request = Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(StreamBody::new(futures_util::stream::iter(pieces)))
        .unwrap();
    assert_eq!(endpoint.oneshot(request).await.unwrap().status(), 413);
    assert_eq!(copies(&[middle(&password)]), 0);
}

/// Some words that a hash of the password leaves in memory, masked. It uses 100 KiB, which malloc keeps when freed.
fn leavings(hash: &str, password: &[u8]) -> Vec<u8> {
    let stored = PasswordHash::new(hash).unwrap();
    let params = Params::try_from(&stored).unwrap();
    let mut blocks = vec![Block::new(); params.block_count()];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(&unmasked(password), stored.salt.unwrap().as_ref(), &mut [0; 32], &mut blocks)
        .unwrap();
    let block: &[u64] = blocks[50].as_ref();
    let wanted: Vec<u8> = block[..4].iter().flat_map(|word| word.to_ne_bytes()).map(|byte| byte ^ MASK).collect();
    assert!(copies(from_ref(&wanted)) >= 1, "the search finds nothing that is there");
    blocks.iter_mut().zeroize();
    wanted
}

async fn is_overwritten(wanted: &Vec<u8>) {
    let end = Instant::now() + Duration::from_secs(60);
    while copies(from_ref(wanted)) > 0 {
        assert!(Instant::now() < end, "the memory of the last hash is kept");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn what_a_hash_leaves_in_memory_is_overwritten_when_the_pool_is_idle() {
    let _alone = ALONE.lock().await;
    let (pool, password) = (pool(100), masked(5));
    let hash = pool.hash(secret(&password), None).await.unwrap();
    let wanted = leavings(&hash, &password);
    let endpoint = endpoint(pool, &hash).token_endpoint().into_service();
    assert_eq!(log_in(&endpoint, &password).await, 200);
    is_overwritten(&wanted).await;
}

#[tokio::test]
async fn memory_is_overwritten_before_it_is_freed() {
    let _alone = ALONE.lock().await;
    let password = masked(7);
    let hash = pool(100).hash(secret(&password), None).await.unwrap();
    let wanted = leavings(&hash, &password);
    // More memory than usual is returned at once. The usual memory is freed when the pool ends with its last endpoint.
    for usual in [64, 100] {
        let endpoint = endpoint(pool(usual), &hash).token_endpoint().into_service();
        assert_eq!(log_in(&endpoint, &password).await, 200);
        drop(endpoint);
        is_overwritten(&wanted).await;
    }
}
