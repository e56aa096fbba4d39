//! Reads the value of a key in any of its encodings, into canonical order.

use std::io::Read;

use super::compact::{self, Element};
use super::{Input, RdbError, stream};
use crate::redis::record::{StreamDetail, Strings, Value};

/// A listpack in a list instead of a plain string.
const PACKED_NODE: u64 = 2;
const PLAIN_NODE: u64 = 1;

/// Reads the value that the type byte announces, to its end also where it turns out to be empty.
pub(super) fn read_value<R: Read>(kind: u8, input: &mut Input<R>) -> Result<Value, RdbError> {
    match kind {
        0 => Ok(Value::String(input.string()?)),
        1 => list(strings(input, 1)?),
        2 => set(&strings(input, 1)?),
        3 => sorted_set(input, text_score),
        4 => hash(&strings(input, 2)?, &[]),
        5 => sorted_set(input, Input::f64_le),
        7 => Err(module(input)?),
        9 => hash_of_zipmap(&input.string()?),
        10 => list(elements(&input.string()?, Packing::Ziplist)?),
        11 => set_of_intset(&input.string()?),
        12 => sorted_set_of(&elements(&input.string()?, Packing::Ziplist)?),
        13 => hash(&elements(&input.string()?, Packing::Ziplist)?, &[]),
        14 => quicklist(input, Packing::Ziplist),
        15 => stream::read_stream(input, StreamDetail::Basic),
        16 => hash(&elements(&input.string()?, Packing::Listpack)?, &[]),
        17 => sorted_set_of(&elements(&input.string()?, Packing::Listpack)?),
        18 => quicklist(input, Packing::Listpack),
        19 => stream::read_stream(input, StreamDetail::Offsets),
        20 => set(&elements(&input.string()?, Packing::Listpack)?),
        21 => stream::read_stream(input, StreamDetail::Activity),
        24 => expiring_hash(input),
        25 => {
            input.u64_le()?; // The first expiry, again.
            hash_of_triples(&elements(&input.string()?, Packing::Listpack)?)
        }
        other => Err(RdbError::Unsupported(format!("a value of type {other}"))),
    }
}

#[derive(Clone, Copy)]
enum Packing {
    Ziplist,
    Listpack,
}

fn strings<R: Read>(input: &mut Input<R>, each: u64) -> Result<Strings, RdbError> {
    let count = input.length()?;
    let count = count
        .checked_mul(each)
        .ok_or(RdbError::Corrupt("a count is too large"))?;
    let mut all = Strings::new();
    for _ in 0..count {
        all.push(&input.string()?);
    }
    Ok(all)
}

fn elements(packed: &[u8], packing: Packing) -> Result<Strings, RdbError> {
    let mut all = Strings::new();
    append_elements(&mut all, packed, packing)?;
    Ok(all)
}

fn append_elements(all: &mut Strings, packed: &[u8], packing: Packing) -> Result<(), RdbError> {
    let mut scratch = Vec::new();
    let push = |element: Element<'_>| {
        all.push(element.text(&mut scratch));
        Ok(())
    };
    match packing {
        Packing::Ziplist => compact::ziplist(packed, push),
        Packing::Listpack => compact::listpack(packed, push),
    }
}

fn list(strings: Strings) -> Result<Value, RdbError> {
    if strings.is_empty() {
        return Err(RdbError::Empty);
    }
    Ok(Value::List(strings))
}

fn quicklist<R: Read>(input: &mut Input<R>, packing: Packing) -> Result<Value, RdbError> {
    let mut all = Strings::new();
    for _ in 0..input.length()? {
        let container = match packing {
            Packing::Ziplist => PACKED_NODE,
            Packing::Listpack => input.length()?,
        };
        let node = input.string()?;
        match container {
            PLAIN_NODE => all.push(&node),
            PACKED_NODE => append_elements(&mut all, &node, packing)?,
            _ => return Err(RdbError::Corrupt("a list node has an unknown container")),
        }
    }
    list(all)
}

fn set_of_intset(packed: &[u8]) -> Result<Value, RdbError> {
    let mut members = Strings::new();
    compact::intset(packed, |number| members.push(number.to_string().as_bytes()))?;
    set(&members)
}

fn set(members: &Strings) -> Result<Value, RdbError> {
    if members.is_empty() {
        return Err(RdbError::Empty);
    }
    Ok(Value::set(members)?)
}

fn sorted_set<R: Read>(
    input: &mut Input<R>,
    mut score: impl FnMut(&mut Input<R>) -> Result<f64, RdbError>,
) -> Result<Value, RdbError> {
    let mut members = Strings::new();
    let mut scores = Vec::new();
    for _ in 0..input.length()? {
        members.push(&input.string()?);
        scores.push(number(score(input)?)?);
    }
    if members.is_empty() {
        return Err(RdbError::Empty);
    }
    Ok(Value::sorted_set(&members, &scores)?)
}

/// A score as text behind its length, with three lengths that mean something else.
fn text_score<R: Read>(input: &mut Input<R>) -> Result<f64, RdbError> {
    match input.u8()? {
        253 => Ok(f64::NAN),
        254 => Ok(f64::INFINITY),
        255 => Ok(f64::NEG_INFINITY),
        length => parse_score(&input.bytes(u64::from(length))?),
    }
}

fn parse_score(text: &[u8]) -> Result<f64, RdbError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(RdbError::Corrupt("a score is no number"))
}

fn number(score: f64) -> Result<f64, RdbError> {
    if score.is_nan() {
        return Err(RdbError::Corrupt("a score is no number"));
    }
    Ok(score)
}

fn sorted_set_of(pairs: &Strings) -> Result<Value, RdbError> {
    even(pairs, 2)?;
    let mut members = Strings::new();
    let mut scores = Vec::with_capacity(pairs.len() / 2);
    for (member, score) in pairs.pairs() {
        members.push(member);
        scores.push(number(parse_score(score)?)?);
    }
    Ok(Value::sorted_set(&members, &scores)?)
}

fn hash(pairs: &Strings, expiries: &[u64]) -> Result<Value, RdbError> {
    even(pairs, 2)?;
    Ok(Value::hash(pairs, expiries)?)
}

fn hash_of_zipmap(packed: &[u8]) -> Result<Value, RdbError> {
    let mut pairs = Strings::new();
    compact::zipmap(packed, |field, value| {
        pairs.push(field);
        pairs.push(value);
    })?;
    hash(&pairs, &[])
}

/// Expiries are relative to the first one, plus one; 0 means never.
fn expiring_hash<R: Read>(input: &mut Input<R>) -> Result<Value, RdbError> {
    let first = input.u64_le()?;
    let mut pairs = Strings::new();
    let mut expiries = Vec::new();
    for _ in 0..input.length()? {
        let relative = input.length()?;
        expiries.push(match relative.checked_sub(1) {
            Some(after) => first
                .checked_add(after)
                .ok_or(RdbError::Corrupt("an expiry is too large"))?,
            None => 0,
        });
        pairs.push(&input.string()?);
        pairs.push(&input.string()?);
    }
    hash(&pairs, &expiries)
}

fn hash_of_triples(triples: &Strings) -> Result<Value, RdbError> {
    even(triples, 3)?;
    let mut pairs = Strings::new();
    let mut expiries = Vec::with_capacity(triples.len() / 3);
    for triple in 0..triples.len() / 3 {
        pairs.push(triples.get(3 * triple));
        pairs.push(triples.get(3 * triple + 1));
        let expiry = std::str::from_utf8(triples.get(3 * triple + 2)).ok();
        expiries.push(
            expiry
                .and_then(|text| text.parse().ok())
                .ok_or(RdbError::Corrupt("an expiry is no number"))?,
        );
    }
    hash(&pairs, &expiries)
}

fn even(strings: &Strings, each: usize) -> Result<(), RdbError> {
    if strings.is_empty() {
        return Err(RdbError::Empty);
    }
    if !strings.len().is_multiple_of(each) {
        return Err(RdbError::Corrupt("a collection ends inside an element"));
    }
    Ok(())
}

fn module<R: Read>(input: &mut Input<R>) -> Result<RdbError, RdbError> {
    let name = module_name(input.length()?);
    Ok(RdbError::Unsupported(format!(
        "a value of the module type {name}"
    )))
}

/// The nine letters of a module type, six bits each above ten bits of version.
pub(super) fn module_name(id: u64) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9_u32)
        .filter_map(|at| usize::try_from(id >> (58 - 6 * at) & 0x3f).ok())
        .filter_map(|letter| LETTERS.get(letter).copied().map(char::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_type_is_named() {
        let letters = b"ReJSON-RL";
        let id = letters.iter().fold(0_u64, |id, letter| {
            let at = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
                .iter()
                .position(|known| known == letter)
                .unwrap();
            id << 6 | at as u64
        });
        assert_eq!(module_name(id << 10 | 3), "ReJSON-RL");
    }
}
