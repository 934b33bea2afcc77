//! What a generated guest does in a call: one step after the other, each drawn at random.

use quorate_core::limits;
use wasm_encoder::{BlockType, Function, HeapType, Ieee32, Ieee64, InstructionSink, ValType};

use super::{HANDLER, RECURSE, RESULTS_BYTES, came_back, global};
use crate::abi::{self, IMPORTED, IMPORTS, call, signature};
use crate::random::Random;

/// Locals: two numbers that count loops, and one that keeps what calls return.
const COUNTERS: [u32; 2] = [1, 2];
pub(super) const LONG: u32 = 3;
const LOCALS: [(u32, ValType); 2] = [(2, ValType::I32), (1, ValType::I64)];

/// Quiet, signalling and negative NaNs with a payload, infinities, zeros, and plain numbers.
const FLOATS: [u64; 9] = [
    0x7ff8_0000_0000_0000,
    0xfff8_0000_dead_beef,
    0x7ff0_0000_0000_0001,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0,
    0x8000_0000_0000_0000,
    0x3ff0_0000_0000_0000,
    0x43f0_0000_0000_0000,
];
const FLOATS_32: [u32; 8] =
    [0x7fc0_0000, 0xffc0_beef, 0x7f80_0001, 0x7f80_0000, 0xff80_0000, 0, 0x8000_0000, 0x4f80_0000];

/// The body of a function that is being written.
pub(super) struct Body<'a> {
    pub(super) random: &'a mut Random,
    handlers: u32,
    bytes: Vec<u8>,
    /// Loops around what is written next.
    loops: usize,
}

impl<'a> Body<'a> {
    pub(super) fn new(random: &'a mut Random, handlers: u32) -> Self {
        Self { random, handlers, bytes: Vec::new(), loops: 0 }
    }

    pub(super) fn sink(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.bytes)
    }

    /// The function, which takes nothing.
    pub(super) fn finish(self) -> Function {
        // The first local stands where the parameter of the other kind is.
        let mut function = Function::new([(1, ValType::I32), LOCALS[0], LOCALS[1]]);
        function.raw(self.bytes).instructions().end();
        function
    }

    /// The function, which takes a number.
    pub(super) fn finish_with_number(self) -> Function {
        let mut function = Function::new(LOCALS);
        function.raw(self.bytes).instructions().end();
        function
    }

    /// So many steps.
    pub(super) fn actions(&mut self, steps: u32) {
        (0..steps).for_each(|_| self.action());
    }

    fn action(&mut self) {
        match self.random.below(64) {
            0..=23 => self.import(),
            24..=27 => self.outcome(),
            28..=30 => self.floats(),
            31..=33 => self.vectors(),
            34 | 35 => self.grow(),
            36..=38 => self.bulk_memory(),
            39 | 40 => self.table(),
            41 | 42 => self.call_indirect(),
            43 => self.divide(),
            44 => self.truncate(),
            45..=47 => self.reach_out(),
            48 if self.random.one_in(3) => drop(self.sink().unreachable()),
            49 | 50 => self.recurse(),
            51..=55 => self.repeat(),
            56..=59 => self.sometimes(),
            60 => self.call_other(),
            61 => self.burn(),
            _ => self.put_many(),
        }
    }

    /// Calls the host.
    pub(super) fn import(&mut self) {
        const SHARES: [u32; 20] = [
            call::PUT,
            call::PUT,
            call::PUT,
            call::PUT,
            call::PUT,
            call::GET,
            call::GET,
            call::GET,
            call::SCAN,
            call::SCAN,
            call::SCAN,
            call::SCAN,
            call::DELETE,
            call::DELETE,
            call::DELETE_RANGE,
            call::DELETE_RANGE,
            call::LOG,
            call::LOG,
            call::NEXT,
            call::LOG,
        ];
        let rare = self.random.one_in(60);
        let import = if rare { call::ABORT } else { self.random.pick(&SHARES) };
        let sane = !self.random.one_in(20);
        self.arguments(import, sane);
        self.sink().call(import);
        if IMPORTS[usize::try_from(import).expect("there are eight")].2 {
            self.sink().local_set(LONG);
            self.address();
            self.sink().local_get(LONG).i64_store(abi::plain());
        }
        came_back(&mut self.sink(), import);
    }

    /// Puts the address of a place for a result on the stack.
    fn address(&mut self) {
        let at = self.random.below(RESULTS_BYTES);
        self.constant(at);
    }

    /// Decides how the call is to end.
    fn outcome(&mut self) {
        match self.random.below(10) {
            0..=6 => {
                self.status();
                let verdict = self.random.pick(&[2, 2, 2, 2, 2, 2, 2, 1]);
                self.sink()
                    .global_set(global::REPLY_LEN)
                    .global_set(global::REPLY_AT)
                    .i32_const(verdict)
                    .global_set(global::VERDICT);
            }
            7 => {
                self.number();
                self.sink().global_set(global::VERDICT);
            }
            8 => {
                // Room for the largest reply, and for one that is larger.
                self.sink().i32_const(65).memory_grow(0).drop();
                let over = limits::REPLY_BYTES_MAX + 1;
                let over = u32::try_from(over).expect("it fits a guest's memory");
                let len = if self.random.one_in(2) { over } else { self.large() };
                self.constant(len);
                self.sink().global_set(global::REPLY_LEN);
            }
            _ => {
                self.number();
                self.number();
                self.sink().global_set(global::REPLY_AT).global_set(global::REPLY_LEN);
            }
        }
    }

    /// Computes what is not a number, in several ways, and keeps its bits.
    fn floats(&mut self) {
        self.address();
        if self.random.one_in(2) {
            let [one, other] = [(); 2].map(|()| Ieee64::new(self.random.pick(&FLOATS)));
            let operation = self.random.below(9);
            let mut code = self.sink();
            code.f64_const(one).f64_const(other);
            match operation {
                0 => code.f64_add(),
                1 => code.f64_sub(),
                2 => code.f64_mul(),
                3 => code.f64_div(),
                4 => code.f64_min(),
                5 => code.f64_max(),
                6 => code.f64_copysign(),
                7 => code.f64_sub().f64_sqrt(),
                _ => code.f64_add().f32_demote_f64().f64_promote_f32(),
            };
            code.f64_store(abi::plain());
        } else {
            let other = Ieee32::new(self.random.pick(&FLOATS_32));
            let operation = self.random.below(7);
            self.payload_word();
            let mut code = self.sink();
            code.f32_reinterpret_i32().f32_const(other);
            match operation {
                0 => code.f32_add(),
                1 => code.f32_sub(),
                2 => code.f32_mul(),
                3 => code.f32_div(),
                4 => code.f32_max(),
                5 => code.f32_div().f32_nearest(),
                _ => code.f32_min().f32_sqrt(),
            };
            code.f32_store(abi::plain());
        }
    }

    /// The same in vectors, and what vectors do with bytes.
    fn vectors(&mut self) {
        self.address();
        let [one, other] = [(); 2].map(|()| {
            let [high, low] = [(); 2].map(|()| self.random.pick(&FLOATS));
            i128::from(high.cast_signed()) << 64 | i128::from(low)
        });
        let operation = self.random.below(11);
        let mut code = self.sink();
        code.v128_const(one).v128_const(other);
        match operation {
            0 => code.f64x2_div(),
            1 => code.f64x2_min(),
            2 => code.f64x2_sub().f64x2_sqrt(),
            3 => code.f32x4_mul(),
            4 => code.f32x4_max(),
            5 => code.f32x4_add().f32x4_ceil(),
            6 => code.f64x2_add().f32x4_demote_f64x2_zero(),
            7 => code.i8x16_swizzle(),
            8 => code.f64x2_pmin().i32x4_trunc_sat_f64x2_s_zero(),
            9 => code.i16x8_q15mulr_sat_s(),
            _ => code.f32x4_pmax().i32x4_trunc_sat_f32x4_u(),
        };
        code.v128_store(abi::plain());
    }

    /// Grows the memory, by a little or by more than there may be; keeps what it was told.
    fn grow(&mut self) {
        self.address();
        let pages = self.random.pick(&[0, 1, 1, 1, 2, 2, 2, 20, 20, 100, 1_024, u32::MAX]);
        self.constant(pages);
        self.sink().memory_grow(0).i32_store(abi::plain());
    }

    /// Fills, copies and initializes memory.
    fn bulk_memory(&mut self) {
        let kind = self.random.below(5);
        for limit in [20_000, 40_000, 4_000] {
            if self.random.one_in(24) {
                self.number();
            } else {
                let number = if kind == 2 { limit / 100 } else { limit };
                let number = self.random.below(number);
                self.constant(number);
            }
        }
        match kind {
            0 | 1 => self.sink().memory_fill(0),
            2 => self.sink().memory_init(0, 1),
            3 => self.sink().memory_copy(0, 0),
            _ => self.sink().memory_copy(0, 0).data_drop(1),
        };
    }

    fn table(&mut self) {
        match self.random.below(6) {
            0 => {
                self.address();
                self.sink().ref_null(HeapType::FUNC);
                let more = self.random.pick(&[0, 1, 100, 9_990, 9_991, 12_000, u32::MAX]);
                self.constant(more);
                self.sink().table_grow(0).i32_store(abi::plain());
            }
            1 => {
                self.small_number(12);
                self.sink().ref_null(HeapType::FUNC).table_set(0);
            }
            2 => {
                self.address();
                self.small_number(12);
                self.sink().table_get(0).ref_is_null().i32_store(abi::plain());
            }
            3 => {
                (0..3).for_each(|_| self.small_number(5));
                self.sink().table_copy(0, 0);
            }
            4 => {
                (0..3).for_each(|_| self.small_number(4));
                self.sink().table_init(0, 1);
            }
            _ => {
                self.small_number(12);
                self.sink().ref_null(HeapType::FUNC);
                self.small_number(5);
                self.sink().table_fill(0).elem_drop(1);
            }
        }
    }

    fn small_number(&mut self, end: u32) {
        if self.random.one_in(24) {
            self.number();
        } else {
            let number = self.random.below(end);
            self.constant(number);
        }
    }

    /// Calls through the table, what may be null, of another type, out of bounds, or this one.
    fn call_indirect(&mut self) {
        if self.random.one_in(8) {
            self.constant(5);
            self.small_number(12);
            self.sink().call_indirect(0, signature::NUMBER);
        } else {
            // Some of the table's functions have this type, and are not the entry points.
            let index = self.random.pick(&[0, 4, 5, 0, 4, 5, 0, 4, 5, 1, 3, 7, 12]);
            self.constant(index);
            self.sink().call_indirect(0, signature::NOTHING);
        }
    }

    fn divide(&mut self) {
        self.address();
        self.payload_word();
        let by = self.random.pick(&[0, 1, 5, u32::MAX, 7]);
        let operation = self.random.below(4);
        if operation == 0 {
            // The one quotient that is too large.
            self.sink().drop();
            self.constant(1 << 31);
        }
        self.constant(by);
        let mut code = self.sink();
        match operation {
            0 | 1 => code.i32_div_s(),
            2 => code.i32_rem_s(),
            _ => code.i32_rem_u(),
        };
        code.i32_store(abi::plain());
    }

    /// Makes an integer of a float that may have none.
    fn truncate(&mut self) {
        self.address();
        let float = Ieee64::new(self.random.pick(&FLOATS));
        let saturating = !self.random.one_in(4);
        let mut code = self.sink();
        code.f64_const(float);
        if saturating {
            code.i64_trunc_sat_f64_u()
        } else {
            code.i64_trunc_f64_s()
        };
        code.i64_store(abi::plain());
    }

    /// Reads somewhere, and keeps it: at an edge, or where nobody wrote.
    fn reach_out(&mut self) {
        self.address();
        if self.random.one_in(12) {
            self.number();
        } else {
            let at = self.random.below(abi::PAGE_BYTES - 8);
            self.constant(at);
        }
        let offset = if self.random.one_in(30) { u32::MAX } else { 0 };
        self.sink().i64_load(abi::at(offset)).i64_store(abi::plain());
    }

    fn recurse(&mut self) {
        let depth = self.random.pick(&[1, 2, 10, 10, 200, 1_000, 5_000, u32::MAX]);
        self.constant(depth);
        self.sink().call(RECURSE);
    }

    /// Does something several times; rarely, forever.
    fn repeat(&mut self) {
        let Some(&counter) = COUNTERS.get(self.loops) else { return };
        let turns = if self.random.one_in(100) { u32::MAX } else { 1 + self.random.below(12) };
        self.constant(turns);
        self.sink().local_set(counter).loop_(BlockType::Empty);
        self.loops += 1;
        let steps = 1 + self.random.below(2);
        self.actions(steps);
        self.loops -= 1;
        self.sink().local_get(counter).i32_const(1).i32_sub().local_tee(counter).br_if(0).end();
    }

    /// Does something if the payload says so: the commands of one entry go different ways.
    fn sometimes(&mut self) {
        self.payload_word();
        let mask = self.random.pick(&[1, 2, 3]);
        self.constant(mask);
        self.sink().i32_and().if_(BlockType::Empty);
        // Nested, it must end somewhere.
        if self.random.one_in(6) {
            self.action();
        } else {
            self.import();
        }
        self.sink().end();
    }

    fn call_other(&mut self) {
        let handler = HANDLER + self.random.below(self.handlers);
        self.sink().call(handler);
    }

    /// Computes until the fuel is nearly used up, or a little longer.
    fn burn(&mut self) {
        let Some(&counter) = COUNTERS.get(self.loops) else { return };
        if !self.random.one_in(6) {
            return;
        }
        let turns = self.random.pick(&[1_000_000, 10_000_000, 19_999_990, 20_000_000]);
        self.constant(turns);
        let mut code = self.sink();
        code.local_set(counter).loop_(BlockType::Empty);
        code.local_get(counter).i32_const(1).i32_sub().local_tee(counter).br_if(0).end();
    }

    /// Puts one value under many keys, up to more than a command may write.
    fn put_many(&mut self) {
        let Some(&counter) = COUNTERS.get(self.loops) else { return };
        let large = self.random.one_in(8);
        let (turns, len) = if large { (17, 1 << 20) } else { (1 + self.random.below(60), 5) };
        if large {
            self.constant(16);
            self.sink().memory_grow(0).drop();
        }
        self.constant(turns);
        let mut code = self.sink();
        code.local_set(counter)
            .loop_(BlockType::Empty)
            .i32_const(64)
            .local_get(counter)
            .i32_store8(abi::plain())
            .i32_const(64)
            .i32_const(1)
            .i32_const(0)
            .i32_const(len)
            .call(call::PUT);
        came_back(&mut code, call::PUT);
        code.local_get(counter).i32_const(1).i32_sub().local_tee(counter).br_if(0).end();
    }
}

const _: () = assert!(call::ABORT + 1 == IMPORTED);
