//! What is fuzzed: one row for every decoder of bytes that come from outside, and for the pure kernels.
//!
//! `make test` drives these on stable with inputs mutated from the seeds, `make fuzz` by libFuzzer on nightly. A
//! target may refuse its input; it must not panic, and what it accepts it must be able to say again.

mod foreign;
mod formats;
mod kernels;
mod names;
mod redis;

/// One decoder.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: the folder of a `format.rs`, or what is parsed.
    pub name: &'static str,
    /// Decodes, and checks what must hold of an accepted input; answers whether it was accepted.
    pub run: fn(&[u8]) -> bool,
    /// Valid inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, run: fn(&[u8]) -> bool, seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds }
}

/// All targets; a new decoder is a row.
pub const TARGETS: &[Target] = &[
    target("path", names::path, names::path_seeds),
    target("percent", names::percent, names::percent_seeds),
    target("id", names::id, names::id_seeds),
    target("object_key", names::object_key, names::object_key_seeds),
    target("repo_config", formats::config, formats::config_seeds),
    target("crypto_slot", formats::slot, formats::slot_seeds),
    target("session_records", formats::session, formats::session_seeds),
    target("snapshot_end", formats::end, formats::end_seeds),
    target("pack_trailer", formats::trailer, formats::trailer_seeds),
    target("pack_footer", formats::footer, formats::footer_seeds),
    target("index", formats::index, formats::index_seeds),
    target("record", formats::record, formats::record_seeds),
    target("tree", formats::tree, formats::tree_seeds),
    target("decompress", kernels::decompress, kernels::decompress_seeds),
    target("compress_planes", kernels::planes, kernels::planes_seeds),
    target("chunker", kernels::chunker, kernels::stream_seeds),
    target("delta", kernels::delta, kernels::stream_seeds),
    target("redis_record", redis::record, redis::record_seeds),
    target("redis_payload", redis::payload, redis::payload_seeds),
    target("redis_dump", redis::dump, redis::dump_seeds),
    target(
        "redis_address",
        foreign::redis_address,
        foreign::redis_address_seeds,
    ),
    target(
        "redis_pattern",
        foreign::redis_pattern,
        foreign::redis_pattern_seeds,
    ),
    target(
        "sqlite_header",
        foreign::sqlite_header,
        foreign::sqlite_header_seeds,
    ),
    target(
        "sqlite_log_index",
        foreign::sqlite_log_index,
        foreign::sqlite_log_index_seeds,
    ),
    target(
        "postgres_script",
        foreign::postgres_script,
        foreign::postgres_script_seeds,
    ),
    target(
        "postgres_large_object",
        foreign::postgres_large_object,
        foreign::postgres_large_object_seeds,
    ),
    target(
        "postgres_message",
        foreign::postgres_message,
        foreign::postgres_message_seeds,
    ),
    target(
        "postgres_address",
        foreign::postgres_address,
        foreign::postgres_address_seeds,
    ),
    target(
        "command_line",
        foreign::command_line,
        foreign::command_line_seeds,
    ),
    target(
        "restore_journal",
        foreign::restore_journal,
        foreign::restore_journal_seeds,
    ),
];
