//! Vectors that are not optimised take many times as long as the `argon2` crate, which a profile can optimise on its own:
//! in such a build there are none.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(optimised)");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level != "0") {
        println!("cargo::rustc-cfg=optimised");
    }
}
