//! Sealing and opening: plaintext cannot be written and unverified bytes cannot be used.
//!
//! A *box* is sealed under its session's key with a counter as nonce; a *small record* under the records key with a
//! random nonce. Both bind repository, kind and name through the associated data, so that nothing can be swapped.
//! `repo-format.md` § Cryptography.

mod boxes;
pub mod format;
mod keys;
mod records;
mod slot;

pub use boxes::{BoxHeader, BoxKind, SessionKey, open_box, seal_box};
pub use keys::{RootKey, Secret};
pub use records::{open_record, seal_record};
pub use slot::{KdfParameters, Slot, SlotInfo, open_slot, seal_slot};

/// Bytes that a seal adds.
pub const TAG_BYTES: usize = 16;

/// Fills from the operating system's random source.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The system's source fails only where it does not exist; a zero id or key must never be used then.
    #[expect(
        clippy::expect_used,
        reason = "without randomness nothing may be written at all"
    )]
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
