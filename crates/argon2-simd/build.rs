//! Without optimisation, vectors are many times slower than the `argon2` crate, which a profile can optimise
//! separately. So such a build has no vectors.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(optimised)");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level != "0") {
        println!("cargo::rustc-cfg=optimised");
    }
}
