//! Ledgers with planted bugs: a model of thirty lines finds each, and shows it in a few steps.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use ledger::{
    Accounts, BalanceReply, BalanceRequest, DepositReply, DepositRequest, Ledger, LedgerCall,
    LedgerCalls, OpenReply, OpenRequest, TotalReply, TotalRequest, TransferReply, TransferRequest,
};
use quorate_sdk::{Command, Map, Method, Plugin, Query, Status};
use quorate_test::proptest::prelude::{Just, Strategy};
use quorate_test::proptest::prop_oneof;
use quorate_test::{Machine, Model, internal};

/// No more steps than that show a bug.
const STEPS_MAX: usize = 10;
const BALANCES: Map<String, u64> = Map::new("balances");

/// A ledger whose `transfer` is another.
macro_rules! planted {
    ($name:ident, $transfer:path) => {
        struct $name;

        impl Ledger for $name {
            fn open(cx: &mut Command<'_>, request: OpenRequest) -> Result<OpenReply, Status> {
                CACHE.take();
                Accounts::open(cx, request)
            }

            fn deposit(
                cx: &mut Command<'_>,
                request: DepositRequest,
            ) -> Result<DepositReply, Status> {
                Accounts::deposit(cx, request)
            }

            fn transfer(
                cx: &mut Command<'_>,
                request: TransferRequest,
            ) -> Result<TransferReply, Status> {
                $transfer(cx, request)
            }

            fn balance(cx: &Query<'_>, request: BalanceRequest) -> Result<BalanceReply, Status> {
                Accounts::balance(cx, request)
            }

            fn total(cx: &Query<'_>, request: TotalRequest) -> Result<TotalReply, Status> {
                Accounts::total(cx, request)
            }
        }

        impl Plugin for $name {
            const SERVICES: &'static [&'static [Method]] = &[<Self as Ledger>::METHODS];
        }
    };
}

fn balance(cx: &Query<'_>, account: &str) -> Result<u64, Status> {
    Ok(Accounts::balance(cx, BalanceRequest { account: account.to_owned() })?.balance)
}

planted!(Sound, Accounts::transfer);
planted!(Overdrawn, overdraw);
planted!(Cached, transfer_by_cache);
planted!(Counted, count_in_memory);

/// Does not look whether there is enough.
fn overdraw(cx: &mut Command<'_>, request: TransferRequest) -> Result<TransferReply, Status> {
    let TransferRequest { from, to, amount } = request;
    if from == to {
        return Err(Status::invalid_argument("a transfer is between two accounts"));
    }
    let left = balance(cx, &from)?.wrapping_sub(amount);
    let there = balance(cx, &to)?.wrapping_add(amount);
    BALANCES.insert(cx, &from, &left);
    BALANCES.insert(cx, &to, &there);
    Ok(TransferReply { balance: left })
}

thread_local! {
    static CACHE: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
    static COUNT: RefCell<u64> = const { RefCell::new(0) };
}

/// Keeps balances in memory, which no roll back reaches: when it traps between its two writes, the
/// first one stays there, and the next transfer makes it last. (An account that is opened empties
/// it, so that one machine does not see what another left.)
fn transfer_by_cache(
    cx: &mut Command<'_>,
    request: TransferRequest,
) -> Result<TransferReply, Status> {
    let TransferRequest { from, to, amount } = request;
    if from == to {
        return Err(Status::invalid_argument("a transfer is between two accounts"));
    }
    let known = |account: &str| {
        let cached = CACHE.with_borrow(|cache| cache.get(account).copied());
        cached.map_or_else(|| balance(cx, account), Ok)
    };
    let left = known(&from)?.checked_sub(amount);
    let left = left.ok_or_else(|| Status::failed_precondition("there is not enough"))?;
    let there = known(&to)?;
    write(cx, from, left);
    assert!(amount != TRAP, "no transfer has this amount");
    write(cx, to, there + amount);
    Ok(TransferReply { balance: left })
}

fn write(cx: &mut Command<'_>, account: String, balance: u64) {
    BALANCES.insert(cx, &account, &balance);
    CACHE.with_borrow_mut(|cache| cache.insert(account, balance));
}

/// Decides by something that is not in the state.
fn count_in_memory(
    cx: &mut Command<'_>,
    request: TransferRequest,
) -> Result<TransferReply, Status> {
    let count = COUNT.with_borrow_mut(|count| {
        *count += 1;
        *count
    });
    let reply = Accounts::transfer(cx, request)?;
    Ok(TransferReply { balance: reply.balance + u64::from(count.is_multiple_of(5)) })
}

/// An amount that makes a ledger trap which traps at all.
const TRAP: u64 = 13;

trait Planted: Plugin + Ledger + 'static {
    const TRAPS: bool = false;
}

impl Planted for Sound {}
impl Planted for Overdrawn {}
impl Planted for Counted {}
impl Planted for Cached {
    const TRAPS: bool = true;
}

/// What all of these should do, in a map.
struct Bank<P> {
    balances: BTreeMap<String, u64>,
    plugin: PhantomData<fn() -> P>,
}

impl<P> Default for Bank<P> {
    fn default() -> Self {
        Self { balances: BTreeMap::new(), plugin: PhantomData }
    }
}

impl<P> Bank<P> {
    fn find(&mut self, account: &str) -> Result<&mut u64, Status> {
        self.balances.get_mut(account).ok_or_else(|| Status::not_found(""))
    }
}

impl<P: Planted> LedgerCalls for Bank<P> {
    fn open(&mut self, request: OpenRequest) -> Result<OpenReply, Status> {
        if self.balances.contains_key(&request.account) {
            return Err(Status::already_exists(""));
        }
        self.balances.insert(request.account, request.balance);
        Ok(OpenReply {})
    }

    fn deposit(&mut self, request: DepositRequest) -> Result<DepositReply, Status> {
        let balance = self.find(&request.account)?;
        *balance += request.amount;
        Ok(DepositReply { balance: *balance })
    }

    fn transfer(&mut self, request: TransferRequest) -> Result<TransferReply, Status> {
        if request.from == request.to {
            return Err(Status::invalid_argument(""));
        }
        let left = self.find(&request.from)?.checked_sub(request.amount);
        let left = left.ok_or_else(|| Status::failed_precondition(""))?;
        let there = *self.find(&request.to)?;
        if P::TRAPS && request.amount == TRAP {
            return Err(Status::internal(""));
        }
        *self.find(&request.to)? = there + request.amount;
        *self.find(&request.from)? = left;
        Ok(TransferReply { balance: left })
    }

    fn balance(&mut self, request: BalanceRequest) -> Result<BalanceReply, Status> {
        Ok(BalanceReply { balance: *self.find(&request.account)? })
    }

    fn total(&mut self, _: TotalRequest) -> Result<TotalReply, Status> {
        let (accounts, sum) = (self.balances.len() as u64, self.balances.values().sum());
        Ok(TotalReply { accounts, sum })
    }
}

impl<P: Planted> Model for Bank<P> {
    type Plugin = P;
    type Call = LedgerCall;

    fn calls() -> impl Strategy<Value = LedgerCall> {
        let account = || prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(str::to_owned);
        prop_oneof![
            1 => (account(), 0..40_u64)
                .prop_map(|(account, balance)| LedgerCall::Open(OpenRequest { account, balance })),
            2 => (account(), account(), 0..20_u64).prop_map(|(from, to, amount)| {
                LedgerCall::Transfer(TransferRequest { from, to, amount })
            }),
            1 => account().prop_map(|account| LedgerCall::Balance(BalanceRequest { account })),
        ]
    }

    fn check(&self, machine: &mut Machine<P>) {
        let total = machine.total(TotalRequest {}).expect("it is never refused");
        assert_eq!(total.sum, self.balances.values().sum::<u64>(), "money is made or lost");
    }
}

/// The script is short, and tells all of this.
#[track_caller]
fn assert_found<P: Planted>(fidelity: &str, seeds: u64, tells: &[&str]) {
    let found = internal::find::<Bank<P>>(fidelity, 1..=seeds);
    let (steps, told) = found.expect("the bug is found");
    assert!(steps <= STEPS_MAX, "{told}");
    for text in tells {
        assert!(told.contains(text), "no {text:?} in: {told}");
    }
}

#[test]
fn a_sound_ledger_is_found_sound() {
    assert!(internal::find::<Bank<Sound>>("native", 1..=200).is_none());
    assert!(internal::find::<Bank<Sound>>("cluster", 1..=20).is_none());
}

#[test]
fn an_overdraft_that_nobody_checks_is_found() {
    let tells = ["Transfer(TransferRequest {", "the model FAILED_PRECONDITION", "balances["];
    assert_found::<Overdrawn>("native", 20, &tells);
    assert_found::<Overdrawn>("cluster", 20, &tells);
}

#[test]
fn a_write_that_is_lost_after_a_trap_is_found() {
    let tells = ["amount: 13", "INTERNAL: the plugin trapped: panicked at"];
    assert_found::<Cached>("native", 200, &tells);
}

#[test]
fn a_replica_that_decides_by_itself_is_found_in_the_cluster() {
    let found = internal::find::<Bank<Counted>>("cluster", 1..=40);
    assert!(found.is_some());
}
