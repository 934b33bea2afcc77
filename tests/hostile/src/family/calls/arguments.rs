//! Arguments of calls: mostly such that the call does something, often enough such that it must
//! not.

use quorate_core::limits;

use super::action::{Body, LONG};
use super::{BUFFER, DATA, DATA_BYTES};
use crate::abi::{self, FRAME, PAGE_BYTES, PAYLOAD, call};

/// What a parameter stands for.
#[derive(Clone, Copy)]
enum Kind {
    /// Pointer and length of a key, or of the end of a range.
    Key,
    /// Pointer and length of a value.
    Value,
    /// Pointer and length of where the host writes.
    Buffer,
    /// Pointer and length of a status.
    Status,
    /// Pointer and length of a text.
    Text,
    /// One of these numbers.
    Of(&'static [u32]),
}

/// How large things are: around nothing, and around each limit.
const LENGTHS: [usize; 18] = [
    0,
    1,
    8,
    64,
    limits::STATUS_MESSAGE_BYTES_MAX,
    limits::STATUS_MESSAGE_BYTES_MAX + 9,
    limits::STATUS_DETAILS_BYTES_MAX + 8,
    limits::STATUS_DETAILS_BYTES_MAX + 9,
    limits::KEY_BYTES_MAX,
    limits::KEY_BYTES_MAX + 1,
    limits::KEY_BYTES_MAX + 2,
    limits::LOG_LINE_BYTES_MAX + 1,
    limits::VALUE_BYTES_MAX,
    limits::VALUE_BYTES_MAX + 1,
    limits::REPLY_BYTES_MAX,
    limits::REPLY_BYTES_MAX + 1,
    limits::COMMAND_WRITE_BYTES_MAX,
    limits::GUEST_MEMORY_BYTES_MAX,
];

/// Numbers at which something may turn over.
const EDGES: [u32; 12] = [
    0,
    1,
    u32::MAX,
    u32::MAX - 7,
    1 << 31,
    (1 << 31) - 1,
    PAGE_BYTES - 1,
    PAGE_BYTES,
    PAGE_BYTES + 1,
    64 * 1024 * 1024,
    64 * 1024 * 1024 - 8,
    FRAME,
];

impl Body<'_> {
    /// Puts the arguments of an import on the stack. When `sane`, most of them are in bounds.
    pub(super) fn arguments(&mut self, import: u32, sane: bool) {
        let flags = Kind::Of(if sane { &[0, 1, 2, 3] } else { &[3, 4, 1 << 31] });
        let kinds: &[Kind] = match import {
            call::NEXT => match self.random.below(6) {
                0 => &[Kind::Of(&[0, 0, 0, 3, u32::MAX]), Kind::Text, Kind::Buffer],
                1 | 2 => &[Kind::Of(&[2]), Kind::Status, Kind::Buffer],
                _ => &[Kind::Of(&[1]), Kind::Value, Kind::Buffer],
            },
            call::GET => &[Kind::Key, Kind::Buffer],
            call::PUT => &[Kind::Key, Kind::Value],
            call::DELETE => &[Kind::Key],
            call::DELETE_RANGE => &[Kind::Key, Kind::Key],
            call::SCAN => {
                &[Kind::Key, Kind::Key, flags, Kind::Of(&[0, 0, 1, 2, 7, u32::MAX]), Kind::Buffer]
            }
            call::LOG if sane => &[Kind::Of(&[1, 2, 3, 4, 5]), Kind::Text],
            call::LOG => &[Kind::Of(&[5, 0, 6, u32::MAX]), Kind::Text],
            _ => &[Kind::Text, Kind::Of(&[0, 7, u32::MAX])],
        };
        for &kind in kinds {
            match kind {
                Kind::Of(numbers) => {
                    let number = self.random.pick(numbers);
                    self.constant(number);
                }
                _ if sane || self.random.one_in(2) => self.good(kind),
                _ => {
                    self.number();
                    self.number();
                }
            }
        }
    }

    /// A pointer and a length that are in bounds.
    fn good(&mut self, kind: Kind) {
        let (at, len) = match kind {
            Kind::Key => match self.random.below(16) {
                // From the payload: the log decides.
                0..=2 => (PAYLOAD, 1 + self.random.below(3)),
                // No bytes: the least key, and no end.
                3..=5 => (0, 0),
                6 => (DATA, self.large()),
                // Few keys, so that they are met again.
                _ => (DATA + self.random.below(6), 1),
            },
            Kind::Buffer => {
                let lengths = [0, 1, 7, 8, 9, 15, 16, 17, 40, 64, 200, 1_024, 8_192, 20_000];
                let at = [BUFFER, BUFFER, 64, DATA, PAGE_BYTES - 20_000];
                (self.random.pick(&at), self.random.pick(&lengths))
            }
            Kind::Status => {
                self.status();
                return;
            }
            Kind::Value | Kind::Text | Kind::Of(_) => match self.random.below(16) {
                0 => (0, self.large()),
                1 => (BUFFER, self.random.below(20_000)),
                2 => (PAYLOAD, self.random.below(200)),
                _ => (DATA + self.random.below(DATA_BYTES / 2), self.random.below(DATA_BYTES / 2)),
            },
        };
        self.constant(at);
        self.constant(len);
    }

    /// A length at one of the limits.
    pub(super) fn large(&mut self) -> u32 {
        let len = self.random.pick(&LENGTHS);
        u32::try_from(len).expect("limits are within a guest's memory")
    }

    /// Writes a status where the results are, right in most cases; leaves where it is and its
    /// length on the stack.
    pub(super) fn status(&mut self) {
        let at = BUFFER;
        let code = if self.random.one_in(12) {
            self.random.pick(&[0, 17, u32::MAX])
        } else {
            1 + self.random.below(16)
        };
        let message = self.random.pick(&[0, 1, 8, 1_024, 1_030, 2_000]);
        let said = if self.random.one_in(16) { self.random.word() } else { message };
        let details = self.random.pick(&[0, 1, 2_048, 2_049]);
        let letter = if self.random.one_in(12) { 0xc3 } else { 0x61 };
        for (offset, number) in [(0, code), (4, said)] {
            self.constant(at + offset);
            self.constant(number);
            self.sink().i32_store(abi::plain());
        }
        self.constant(at + 8);
        self.constant(letter);
        self.constant(message + details);
        self.sink().memory_fill(0);
        self.constant(at);
        let len = if self.random.one_in(20) { 7 } else { 8 + message + details };
        self.constant(len);
    }

    /// Puts a number on the stack: an edge, the end of the memory, a word of the payload, what the
    /// last call returned.
    pub(super) fn number(&mut self) {
        match self.random.below(8) {
            0 | 1 => {
                let number = self.random.pick(&EDGES);
                self.constant(number);
            }
            2 => {
                let number = self.large();
                self.constant(number);
            }
            3 => {
                let beyond = self.random.pick(&[0, 1, u32::MAX, u32::MAX - 7, 8]);
                self.sink()
                    .memory_size(0)
                    .i32_const(abi::bits(PAGE_BYTES))
                    .i32_mul()
                    .i32_const(abi::bits(beyond))
                    .i32_add();
            }
            4 => self.payload_word(),
            5 => {
                self.sink().local_get(LONG).i32_wrap_i64();
            }
            6 => {
                let number = self.random.word();
                self.constant(number);
            }
            _ => {
                let number = self.random.below(100);
                self.constant(number);
            }
        }
    }

    /// Puts a word of the payload on the stack, which may be what a longer payload left there.
    pub(super) fn payload_word(&mut self) {
        let at = self.random.below(64);
        self.constant(PAYLOAD + at);
        self.sink().i32_load(abi::plain());
    }

    /// Puts a number on the stack.
    pub(super) fn constant(&mut self, number: u32) {
        self.sink().i32_const(abi::bits(number));
    }
}
