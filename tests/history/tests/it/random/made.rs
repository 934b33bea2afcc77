//! Makes histories that are right: a store with a log executes each call at an instant between its
//! beginning and its end, or later if it gets no answer.

use quorate_history::{Answer, Call, Found, Op, Outcome};

/// Numbers that look random, and are the same for the same seed (Knuth's MMIX generator).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        let mut numbers = Self(seed);
        numbers.below(1);
        numbers
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        const FACTOR: u64 = 6_364_136_223_846_793_005;
        self.0 = self.0.wrapping_mul(FACTOR).wrapping_add(1_442_695_040_888_963_407);
        // Its lower bits repeat early.
        (self.0 >> 33) % bound
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What a history is like.
pub(crate) struct Shape {
    pub(crate) clients: u64,
    pub(crate) calls: u64,
    pub(crate) keys: u64,
    /// What each half of a call lasts at most, and each pause.
    pub(crate) time: u64,
    /// Of a hundred calls, those without an answer; a quarter as many are refused.
    pub(crate) without_answer: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Refused,
    Lost,
    Unanswered,
}

/// A call that will be executed at an instant.
struct Plan {
    client: usize,
    begun: u64,
    at: u64,
    ended: u64,
    fate: Fate,
}

pub(crate) fn make(shape: &Shape, numbers: &mut Numbers) -> Vec<Op> {
    let mut plans = Vec::new();
    let mut time = vec![0; usize::try_from(shape.clients).unwrap()];
    for number in 0..shape.calls {
        let client = usize::try_from(number % shape.clients).unwrap();
        let plan = plan(client, time[client], shape, numbers);
        time[client] = plan.ended;
        plans.push(plan);
    }
    // A client's calls at the same instant stay in their order.
    plans.sort_by_key(|plan| plan.at);
    let mut store = Store::default();
    plans.iter().map(|plan| store.execute(plan, shape, numbers)).collect()
}

fn plan(client: usize, time: u64, shape: &Shape, numbers: &mut Numbers) -> Plan {
    // Now and then one is slow.
    let most = if numbers.percent(3) { 10 * shape.time } else { shape.time };
    let begun = time + numbers.below(shape.time);
    let mut at = begun + numbers.below(most);
    let ended = at + numbers.below(most);
    let fate = if numbers.percent(shape.without_answer) {
        at += numbers.below(10 * shape.time);
        if numbers.percent(70) { Fate::Unanswered } else { Fate::Lost }
    } else if numbers.percent(shape.without_answer / 4) {
        Fate::Refused
    } else {
        Fate::Answered
    };
    Plan { client, begun, at, ended, fate }
}

/// A store with a log, as the clients' calls find it.
#[derive(Default)]
struct Store {
    keys: [Option<(u64, u64)>; 4],
    revision: u64,
    index: u64,
    /// The earliest end of the commands of the last entry, while more can join it.
    entry: Option<u64>,
    values: u64,
    /// The revision of what each client last found at each key.
    known: [[u64; 4]; 16],
}

impl Store {
    fn execute(&mut self, plan: &Plan, shape: &Shape, numbers: &mut Numbers) -> Op {
        let key = numbers.below(shape.keys);
        let at = usize::try_from(key).unwrap();
        self.values += 1;
        let call = match numbers.below(5) {
            0 | 1 => Call::Get,
            2 => Call::Put(self.values),
            3 if numbers.percent(10) => Call::Cas(numbers.below(20), self.values),
            _ => Call::Cas(self.known[plan.client][at], self.values),
        };
        let outcome = match plan.fate {
            Fate::Refused => Outcome::Refused,
            Fate::Lost => Outcome::Unknown,
            Fate::Answered | Fate::Unanswered => {
                let answer = self.answer(plan, at, &call, numbers);
                self.answered(plan, at, answer)
            }
        };
        let key = u32::try_from(key).unwrap();
        Op { begun: plan.begun, ended: plan.ended, key, call, outcome }
    }

    fn answer(&mut self, plan: &Plan, at: usize, call: &Call, numbers: &mut Numbers) -> Answer {
        let found = self.keys[at].map(|(value, mod_revision)| Found { value, mod_revision });
        let mod_revision = found.as_ref().map_or(0, |found| found.mod_revision);
        let writes = match call {
            Call::Get => None,
            Call::Put(value) => Some(*value),
            Call::Cas(wanted, value) => (*wanted == mod_revision).then_some(*value),
        };
        if matches!(call, Call::Get) {
            self.entry = None;
        } else {
            self.append(plan, numbers);
        }
        if let Some(value) = writes {
            self.revision += 1;
            self.keys[at] = Some((value, self.revision));
        }
        Answer {
            index: self.index,
            term: 1 + self.index / 50,
            revision: self.revision,
            wrote: writes.is_some(),
            found,
        }
    }

    /// Commands share an entry only if all of them are under way at once.
    fn append(&mut self, plan: &Plan, numbers: &mut Numbers) {
        match self.entry {
            Some(ended) if plan.begun <= ended && numbers.percent(50) => {
                self.entry = Some(ended.min(plan.ended));
            }
            _ => {
                self.index += 1;
                self.entry = Some(plan.ended);
            }
        }
    }

    fn answered(&mut self, plan: &Plan, at: usize, answer: Answer) -> Outcome {
        if plan.fate == Fate::Unanswered {
            return Outcome::Unknown;
        }
        self.known[plan.client][at] = if answer.wrote {
            answer.revision
        } else {
            answer.found.as_ref().map_or(0, |found| found.mod_revision)
        };
        Outcome::Answered(answer)
    }
}

/// Whether it is a Cas without an answer.
pub(crate) fn is_cas_without_answer(op: &Op) -> bool {
    matches!((&op.call, &op.outcome), (Call::Cas(..), Outcome::Unknown))
}
