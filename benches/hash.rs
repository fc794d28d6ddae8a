//! CPU time of one password hash: the `argon2` crate compared with the vectors of `argon2-simd`.

use std::{fs, hint::black_box, thread};

use argon2::{Algorithm, Argon2, Block, Params, Version};

use argon2_simd::{Costs, Inputs, Memory, Vectors};

const ROUNDS: usize = 15;
/// Enough that the 4 ms of the kernel's clock do not matter.
const HASHES: usize = 20;
const PASSWORD: &[u8] = b"wonderland123";
const SALT: &[u8] = b"sixteen bytes ..";

type Hash = Box<dyn FnMut() -> [u8; 32] + Send>;

/// CPU time of this thread so far, in ms.
fn cpu() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

/// CPU time of a hash in ms, when all these threads hash again and again.
fn measure(threads: &mut [Hash]) -> f64 {
    let hashes = (threads.len() * HASHES) as f64;
    let run = |hash: &mut Hash| {
        let before = cpu();
        for _ in 0..HASHES {
            black_box(hash());
        }
        cpu() - before
    };
    thread::scope(|scope| {
        let running: Vec<_> = threads.iter_mut().map(|hash| scope.spawn(move || run(hash))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum::<f64>() / hashes
    })
}

fn params() -> Params {
    Params::new(19_456, 2, 1, Some(32)).unwrap()
}

fn allocating() -> Hash {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params());
    Box::new(move || {
        let mut output = [0; 32];
        argon2.hash_password_into(PASSWORD, SALT, &mut output).unwrap();
        output
    })
}

fn reused() -> Hash {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params());
    let mut memory = vec![Block::new(); params().block_count()];
    Box::new(move || {
        let mut output = [0; 32];
        argon2.hash_password_into_with_memory(PASSWORD, SALT, &mut output, &mut memory[..]).unwrap();
        output
    })
}

fn on_vectors(vectors: Vectors) -> Hash {
    let costs = Costs::new(Algorithm::Argon2id, Version::V0x13, &params());
    let inputs = Inputs { password: PASSWORD, salt: SALT, ..Inputs::default() };
    let mut memory = Memory::default();
    Box::new(move || {
        let mut output = [0; 32];
        vectors.hash_into(costs, inputs, &mut output, &mut memory).unwrap();
        output
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn table(threads: usize) {
    let mut rows: Vec<(String, Vec<Hash>)> = vec![
        ("argon2, memory reused".to_owned(), (0..threads).map(|_| reused()).collect()),
        ("argon2, allocating".to_owned(), (0..threads).map(|_| allocating()).collect()),
    ];
    for vectors in Vectors::detected() {
        assert!(vectors.agree_with_reference());
        rows.push((format!("{vectors:?}"), (0..threads).map(|_| on_vectors(vectors)).collect()));
    }
    let expected = reused()();
    for (name, threads) in &mut rows {
        // This also touches the memory for the first time.
        threads.iter_mut().for_each(|hash| assert_eq!(hash(), expected, "{name}"));
    }
    let mut figures = vec![Vec::new(); rows.len()];
    for _ in 0..ROUNDS {
        for ((_, threads), figures) in rows.iter_mut().zip(&mut figures) {
            figures.push(measure(threads));
        }
    }
    let first = figures[0].clone();
    println!("\n{threads} thread(s), ms of CPU per hash, median of {ROUNDS} rounds, and its ratio to the first row");
    for ((name, _), figures) in rows.iter().zip(figures) {
        let ratio = median(figures.iter().zip(&first).map(|(own, first)| own / first).collect());
        println!("{name:<24} {:>6.2} {ratio:>6.2}", median(figures));
    }
}

fn main() {
    table(1);
    table(thread::available_parallelism().unwrap().get());
}
