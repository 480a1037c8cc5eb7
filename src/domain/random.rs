//! The only code that draws random numbers.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::hex;

/// The base62 digits, in order of value.
pub const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A source of random bytes that is safe for secrets. Passed in, so that tests can be repeatable.
#[derive(Clone)]
pub struct Random(Arc<Mutex<StdRng>>);

impl Random {
    /// A source seeded by the operating system.
    #[expect(clippy::disallowed_methods, reason = "this is the source that all others use")]
    pub fn system() -> Self {
        Self(Arc::new(Mutex::new(rand::make_rng())))
    }

    /// A source that returns the same bytes for the same seed. For tests and for the demo.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        // A panic elsewhere cannot leave the generator half-updated, so its state is still good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        bytes
    }

    /// `N` random bytes as lower-case hex digits.
    pub fn hex<const N: usize>(&self) -> String {
        hex(&self.bytes::<N>())
    }

    /// `length` random characters of `0-9A-Za-z`, each equally likely.
    pub fn base62(&self, length: usize) -> String {
        let mut text = String::with_capacity(length);
        while text.len() < length {
            // 248 = 4 × 62: larger bytes would favour the first characters.
            let fair = self.bytes::<64>().into_iter().filter(|byte| *byte < 248);
            let characters = fair.map(|byte| char::from(BASE62[usize::from(byte) % 62]));
            text.extend(characters.take(length - text.len()));
        }
        text
    }
}
