//! Hands libFuzzer's inputs to the target named by `KEEPSTONE_FUZZ_TARGET`.

#![no_main]

#[path = "../targets/mod.rs"]
mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("KEEPSTONE_FUZZ_TARGET").expect("KEEPSTONE_FUZZ_TARGET names a target");
    let target = targets::TARGETS.iter().find(|target| target.name == name);
    *target.expect("a target of fuzz/targets/mod.rs")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (TARGET.run)(data);
});
