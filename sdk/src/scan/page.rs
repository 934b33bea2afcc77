//! Handing out a scan in pieces, to clients that come back for more.
//!
//! A token is the place where the next page begins, with a sum over that place and the scan, in
//! hexadecimal digits. The sum keeps damage and mistakes out; it does not keep anybody from making
//! a token, who would get no more by it than another page of the same scan.

use crate::Status;

/// Some items of a scan, and how to get the next ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the order of the scan.
    pub items: Vec<T>,
    /// What to ask for the next page with; empty when there is none.
    pub next_page_token: String,
}

impl<T> Page<T> {
    /// The same page of other items.
    pub fn map<U>(self, item: impl FnMut(T) -> U) -> Page<U> {
        let Self { items, next_page_token } = self;
        Page { items: items.into_iter().map(item).collect(), next_page_token }
    }
}

/// What a token must be of.
pub(super) struct Origin<'a> {
    pub(super) name: &'a str,
    pub(super) lo: &'a [u8],
    pub(super) hi: &'a [u8],
    pub(super) reverse: bool,
}

const SUM_BYTES: usize = 8;

impl Origin<'_> {
    /// The token of a place, without the first `skip` bytes that all places have.
    pub(super) fn token(&self, place: &[u8], skip: usize) -> String {
        let place = &place[skip..];
        let mut token = String::with_capacity(2 * (SUM_BYTES + place.len()));
        for byte in self.sum(place).to_be_bytes().iter().chain(place) {
            token.push(char::from(DIGITS[usize::from(byte >> 4)]));
            token.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        token
    }

    /// The place of a token.
    pub(super) fn place(&self, token: &str, skip: usize) -> Result<Vec<u8>, Status> {
        let place = || {
            let bytes = from_hex(token)?;
            let (sum, rest) = bytes.split_at_checked(SUM_BYTES)?;
            if sum != self.sum(rest).to_be_bytes() {
                return None;
            }
            Some([&self.lo[..skip], rest].concat())
        };
        place().filter(|place| self.holds(place)).ok_or_else(|| {
            Status::invalid_argument("the page token is damaged, or of another question")
        })
    }

    /// Whether a scan that has begun could go on at that place.
    fn holds(&self, place: &[u8]) -> bool {
        // An empty end would be none.
        let has_end = !(self.reverse && place.is_empty());
        has_end && self.lo <= place && (self.hi.is_empty() || place <= self.hi)
    }

    /// FNV-1a, 64 bits, of all that makes the scan, and of the place.
    fn sum(&self, place: &[u8]) -> u64 {
        let direction = [u8::from(self.reverse)];
        let mut sum = 0xcbf2_9ce4_8422_2325_u64;
        for part in [self.name.as_bytes(), self.lo, self.hi, &direction, place] {
            for byte in part.len().to_le_bytes().iter().take(4).chain(part) {
                sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        sum
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// `None` when it is not what [`Origin::token`] writes.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| DIGITS.iter().position(|&digit| digit == byte);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|&[high, low]| u8::try_from(digit(high)? * 16 + digit(low)?).ok()).collect()
}
