//! Compares the two JWT backends at signing and checking.

mod support;

use std::{hint::black_box, time::Instant};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey,
    crypto::{CryptoProvider, aws_lc, rust_crypto},
};
use support::medians;

const ROUNDS: usize = 31;
const MESSAGE: &[u8] = &[b'x'; 300];

/// Microseconds per call.
fn time(calls: usize, mut call: impl FnMut()) -> f64 {
    let begun = Instant::now();
    for _ in 0..calls {
        call();
    }
    begun.elapsed().as_secs_f64() * 1e6 / calls as f64
}

/// The times of signing and checking, with a signer and a verifier for each token, as in this crate.
fn measure(provider: &CryptoProvider, algorithm: Algorithm, signing: &EncodingKey, checking: &DecodingKey) -> [f64; 2] {
    let sign = || (provider.signer_factory)(&algorithm, signing).unwrap().try_sign(MESSAGE).unwrap();
    let signature = sign();
    let check =
        || (provider.verifier_factory)(&algorithm, checking).unwrap().verify(black_box(MESSAGE), &signature).unwrap();
    let calls = if algorithm == Algorithm::RS256 { 10 } else { 100 };
    let signed = time(calls, || drop(black_box(sign())));
    [signed, time(calls, check)]
}

fn main() {
    let pem = |name: &str| std::fs::read(format!("tests/support/keys/{name}.pem")).unwrap();
    let algorithms = [
        (Algorithm::HS256, EncodingKey::from_secret(&[7; 32]), DecodingKey::from_secret(&[7; 32])),
        (
            Algorithm::ES256,
            EncodingKey::from_ec_pem(&pem("p256")).unwrap(),
            DecodingKey::from_ec_pem(&pem("p256.pub")).unwrap(),
        ),
        (
            Algorithm::EdDSA,
            EncodingKey::from_ed_pem(&pem("ed25519")).unwrap(),
            DecodingKey::from_ed_pem(&pem("ed25519.pub")).unwrap(),
        ),
        (
            Algorithm::RS256,
            EncodingKey::from_rsa_pem(&pem("rsa2048")).unwrap(),
            DecodingKey::from_rsa_pem(&pem("rsa2048.pub")).unwrap(),
        ),
    ];
    println!("µs, medians of {ROUNDS} rounds | aws_lc_rs | rust_crypto | ratio");
    for (algorithm, signing, checking) in &algorithms {
        let rounds: Vec<Vec<f64>> = (0..ROUNDS)
            .map(|_| {
                let [aws, rust] = [&aws_lc::DEFAULT_PROVIDER, &rust_crypto::DEFAULT_PROVIDER];
                [aws, rust].map(|provider| measure(provider, *algorithm, signing, checking)).concat()
            })
            .collect();
        let found = medians(&rounds);
        for (what, at) in [("sign", 0), ("check", 1)] {
            println!(
                "{algorithm:?} {what} | {:.1} | {:.1} | {:.2}",
                found[at],
                found[at + 2],
                found[at + 2] / found[at]
            );
        }
    }
}
