//! `keepstone prune`.

use super::help;
use super::world::{World, of_type};

#[test]
fn help_of_prune() {
    insta::assert_snapshot!(help(&["prune"]), @r###"
    exit 0
    -- stdout
    Free the space that no snapshot needs

    Usage: keepstone prune [OPTIONS]

    Options:
      -n, --dry-run                 Show what would be removed
          --fence-after <DURATION>  Shut out a run of another host that was silent so long; it then
                                    fails instead of committing [default: 24h]
      -h, --help                    Print help (see more with '--help')

    Examples:
      keepstone prune --dry-run
      keepstone prune
      keepstone prune --fence-after 6h

    Nobody needs to stop: backups may run on any host meanwhile. What a run that is still going on could
    need is condemned now and removed by a later prune.
    "###);
}

#[test]
fn what_no_snapshot_needs_goes() {
    let world = World::filled();
    world.write("data/big.txt", &numbers(1));
    let first = world.backup_at("2024-05-01 10:00", &[]);
    world.write("data/big.txt", &numbers(7));
    world.backup_at("2024-05-02 10:00", &[]);
    insta::assert_snapshot!(world.run(&["prune"]), @r###"
    exit 0
    -- stdout
    PACKS (SIZE) removed, SIZE written anew
    "###);
    world.ok(&["forget", &first]);
    let before = world.objects();
    insta::assert_snapshot!(world.run(&["prune", "--dry-run"]), @r###"
    exit 0
    -- stdout
    dry run: PACKS (SIZE) would go, SIZE would be written anew
    "###);
    assert_eq!(world.objects(), before);
    insta::assert_snapshot!(world.run(&["prune"]), @r###"
    exit 0
    -- stdout
    PACKS (SIZE) removed, SIZE written anew
    "###);
    assert!(world.objects().values().sum::<u64>() < before.values().sum());
    let lines = world.json(&["prune"]);
    assert_eq!(of_type(&lines, "pruned")[0]["swept"], 0);
    world.ok(&["check", "--read-data"]);
    assert_eq!(
        world.ok(&["dump", "latest", &world.text("data/big.txt")]),
        numbers(7)
    );
}

/// Text that two factors do not share.
fn numbers(factor: u64) -> String {
    (1..20_000_u64)
        .map(|n| {
            format!(
                "{:x}\n",
                (n + factor * 1_000_000).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            )
        })
        .collect()
}
