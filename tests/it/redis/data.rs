//! Data for the tests: every type, in small and in large encodings.

use redis::{Connection, cmd, pipe};

/// Milliseconds since 1970 of a moment far ahead: nothing of it expires in a test.
pub const FAR_MS: u64 = 4_102_444_800_123;

/// Text that does not compress to nothing, of a given length, different for each number.
pub fn text(number: u64, length: usize) -> String {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letters = b"abcdefghijklmnop qrstuvwxyz";
    (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from(letters[usize::try_from(state >> 33).unwrap() % letters.len()])
        })
        .collect()
}

/// Fills database 0 with every type and database 3 with a little.
pub fn fill(connection: &mut Connection) {
    strings(connection);
    lists(connection);
    sets(connection);
    sorted_sets(connection);
    hashes(connection);
    streams(connection);
    cmd("SELECT").arg(3).exec(connection).unwrap();
    cmd("SET").arg("three").arg("3").exec(connection).unwrap();
    cmd("SELECT").arg(0).exec(connection).unwrap();
}

fn strings(connection: &mut Connection) {
    let mut pipe = pipe();
    for (key, value) in [
        ("string:small", "hello"),
        ("string:empty", ""),
        ("string:int8", "-7"),
        ("string:int16", "30000"),
        ("string:int32", "-2000000000"),
        ("string:int64", "9007199254740993"),
        ("string:looks-like-int", "007"),
    ] {
        pipe.set(key, value);
    }
    pipe.set("string:lzf", "abcdefgh".repeat(2_000));
    pipe.set("string:long", text(1, 70_000));
    pipe.set(
        b"string:\x00\xff\r\n binary",
        b"\x00\x01\xfe\xff\r\n".as_slice(),
    );
    pipe.set("", "the key is empty");
    for n in 0..500_u64 {
        pipe.set(format!("many:{n}"), text(n, 40));
    }
    pipe.set("expires:later", "x");
    pipe.cmd("PEXPIREAT").arg("expires:later").arg(FAR_MS);
    pipe.exec(connection).unwrap();
}

fn lists(connection: &mut Connection) {
    let mut pipe = pipe();
    pipe.rpush("list:small", vec!["a", "b", "1", "-5", "70000", "b"]);
    for n in 0..3_000_u64 {
        pipe.rpush("list:nodes", text(n, 30));
    }
    // Larger than a node: plain.
    pipe.rpush("list:plain", text(7, 20_000));
    pipe.rpush("list:plain", "tail");
    pipe.exec(connection).unwrap();
}

fn sets(connection: &mut Connection) {
    let mut pipe = pipe();
    pipe.sadd("set:int16", vec![1, -2, 300]);
    pipe.sadd("set:int32", vec![1, 2, 70_000]);
    pipe.sadd("set:int64", vec![1, 2, i64::MAX]);
    pipe.sadd("set:words", vec!["b", "a", "c"]);
    for n in 0..2_000_u64 {
        pipe.sadd("set:table", text(n, 20));
    }
    pipe.cmd("PEXPIREAT").arg("set:words").arg(FAR_MS + 1);
    pipe.exec(connection).unwrap();
}

fn sorted_sets(connection: &mut Connection) {
    let mut pipe = pipe();
    for (score, member) in [
        ("1", "a"),
        ("1", "A"),
        ("-inf", "low"),
        ("+inf", "high"),
        ("0.1", "tenth"),
        ("-0", "zero"),
        ("3.1415926535897931", "pi"),
        ("1e300", "huge"),
        ("5e-324", "least"),
    ] {
        pipe.cmd("ZADD").arg("zset:small").arg(score).arg(member);
        pipe.cmd("ZADD").arg("zset:large").arg(score).arg(member);
    }
    for n in 0..2_000_u32 {
        pipe.zadd("zset:large", text(u64::from(n), 20), f64::from(n) / 7.0);
    }
    pipe.exec(connection).unwrap();
}

fn hashes(connection: &mut Connection) {
    let mut pipe = pipe();
    pipe.hset_multiple("hash:small", &[("b", "2"), ("a", "one"), ("c", "-300000")]);
    pipe.hset("hash:long-value", "f", text(3, 5_000));
    for n in 0..2_000_u64 {
        pipe.hset("hash:table", text(n, 12), text(n + 1, 100));
    }
    pipe.exec(connection).unwrap();
}

fn streams(connection: &mut Connection) {
    let mut pipe = pipe();
    for n in 1..=1_000_u64 {
        let id = format!("{}-{}", 1_700_000_000_000 + n / 3, n % 3);
        let fields = if n % 10 == 0 {
            ["x", "y"]
        } else {
            ["user", "text"]
        };
        pipe.cmd("XADD").arg("stream:large").arg(id);
        pipe.arg(fields[0]).arg(n).arg(fields[1]).arg(text(n, 25));
    }
    pipe.cmd("XDEL")
        .arg("stream:large")
        .arg("1700000000002-0")
        .arg("1700000000333-1");
    pipe.cmd("XADD")
        .arg("stream:small")
        .arg("5-1")
        .arg("f")
        .arg("v");
    pipe.cmd("XGROUP")
        .arg("CREATE")
        .arg("stream:empty")
        .arg("g")
        .arg("$")
        .arg("MKSTREAM");
    pipe.cmd("XADD")
        .arg("stream:emptied")
        .arg("7-7")
        .arg("f")
        .arg("v");
    pipe.cmd("XDEL").arg("stream:emptied").arg("7-7");
    for group in ["workers", "audit"] {
        pipe.cmd("XGROUP")
            .arg("CREATE")
            .arg("stream:large")
            .arg(group)
            .arg("0");
    }
    pipe.cmd("XGROUP")
        .arg("CREATECONSUMER")
        .arg("stream:large")
        .arg("workers")
        .arg("idle");
    for (consumer, count) in [("bob", 20), ("alice", 30), ("bob", 5)] {
        pipe.cmd("XREADGROUP")
            .arg("GROUP")
            .arg("workers")
            .arg(consumer);
        pipe.arg("COUNT")
            .arg(count)
            .arg("STREAMS")
            .arg("stream:large")
            .arg(">");
    }
    pipe.cmd("XACK")
        .arg("stream:large")
        .arg("workers")
        .arg("1700000000001-0");
    // A pending entry whose message is gone.
    pipe.cmd("XDEL").arg("stream:large").arg("1700000000005-1");
    pipe.exec(connection).unwrap();
}
