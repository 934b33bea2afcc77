//! Indexes, terms and revisions that cannot be, though the values may.

use quorate_history::{Answer, Op, Outcome};

use super::{EARLIER, Illegal, LEGAL};
use crate::write::{NOTHING, get, on, put, put_unknown};

pub(super) fn histories() -> Vec<Illegal> {
    let mut histories = of_revisions();
    histories.extend(of_the_log());
    histories
}

fn of_revisions() -> Vec<Illegal> {
    let first = put((0, 1), 1, (1, 1), NOTHING);
    vec![
        Illegal {
            name: "a lost write's revision is another's",
            by_index: "two calls have one revision",
            by_search: "one revision has two values",
            history: vec![first.clone(), put((2, 3), 2, (1, 1), NOTHING)],
        },
        Illegal {
            name: "two writes without an answer have one revision",
            by_index: "two calls have one revision",
            by_search: "one revision has two values",
            history: vec![
                put_unknown((0, 1), 1),
                put_unknown((0, 1), 2),
                get((2, 3), 1, 1, Some((1, 1))),
                get((2, 3), 1, 1, Some((2, 1))),
            ],
        },
        Illegal {
            name: "two keys have one revision",
            by_index: "two calls have one revision",
            by_search: "one revision has two values",
            history: vec![first.clone(), on(1, put((0, 1), 2, (2, 1), NOTHING))],
        },
        Illegal {
            name: "a write at revision 0",
            by_index: "a value has revision 0",
            by_search: "a value has revision 0",
            history: vec![put((0, 1), 1, (1, 0), NOTHING)],
        },
        Illegal {
            name: "a value at revision 0",
            by_index: "a value has revision 0",
            by_search: "a value has revision 0",
            history: vec![put_unknown((0, 1), 1), get((2, 3), 1, 1, Some((1, 0)))],
        },
        Illegal {
            name: "a read of a key that nobody wrote, before what had ended",
            by_index: EARLIER,
            by_search: LEGAL,
            history: vec![first, on(1, get((2, 3), 0, 0, NOTHING))],
        },
        Illegal {
            name: "a write at a revision that was seen before it began",
            by_index: EARLIER,
            by_search: LEGAL,
            history: vec![
                on(1, get((0, 1), 1, 1, NOTHING)),
                put_unknown((2, 3), 1),
                get((4, 5), 2, 1, Some((1, 1))),
            ],
        },
    ]
}

fn of_the_log() -> Vec<Illegal> {
    let only_index =
        |name, by_index, history| Illegal { name, by_index, by_search: LEGAL, history };
    let first = put((0, 1), 1, (1, 1), NOTHING);
    vec![
        only_index(
            "revisions in another order than indexes",
            "its revision contradicts its index",
            vec![put((0, 9), 1, (2, 1), NOTHING), put((0, 9), 2, (1, 2), Some((1, 1)))],
        ),
        only_index(
            "a later command at an index that is taken",
            "it began later and has an earlier index",
            vec![first.clone(), put((2, 3), 2, (1, 2), Some((1, 1)))],
        ),
        only_index(
            "a later read at an earlier index",
            "it began later and has an earlier index",
            vec![first.clone(), get((2, 3), 5, 1, Some((1, 1))), get((4, 5), 4, 1, Some((1, 1)))],
        ),
        only_index(
            "a term that falls",
            "its term contradicts its index",
            vec![in_term(2, first), in_term(1, put((2, 3), 2, (2, 2), Some((1, 1))))],
        ),
    ]
}

fn in_term(term: u64, op: Op) -> Op {
    let Outcome::Answered(answer) = op.outcome else { panic!("it was answered") };
    Op { outcome: Outcome::Answered(Answer { term, ..answer }), ..op }
}
