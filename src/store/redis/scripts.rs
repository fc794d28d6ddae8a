//! All that Redis is asked to do: each script decides one thing on one key, before a deadline by its own clock.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($name:ident: $file:literal,)*) => {
        $(pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("now.lua"), include_str!($file))));)*

        const SOURCES: &[&str] = &[$(concat!(include_str!("now.lua"), include_str!($file))),*];
    };
}

scripts! {
    INDEX: "index.lua",
    INSERT: "insert.lua",
    FIND: "find.lua",
    ROTATE: "rotate.lua",
    REVOKE: "revoke.lua",
    MEMBERS: "members.lua",
    FORGET: "forget.lua",
    RESERVE: "reserve.lua",
    SETTLE: "settle.lua",
    DENY: "deny.lua",
}

/// Adds to `pipe` that Redis learns all scripts, so that none costs a second round trip when it is first used.
pub(super) fn load_all(pipe: &mut redis::Pipeline) {
    for source in SOURCES {
        pipe.cmd("SCRIPT").arg("LOAD").arg(*source).ignore();
    }
}
