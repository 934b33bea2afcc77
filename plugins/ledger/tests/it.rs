//! The ledger as its clients know it. Each test runs three times: on the plugin as a library, on
//! its module, and on a cluster of three nodes where things go wrong.

use std::collections::BTreeMap;

use ledger::{
    Accounts, BalanceReply, BalanceRequest, DepositReply, DepositRequest, LedgerCall, LedgerCalls,
    OpenReply, OpenRequest, TotalReply, TotalRequest, TransferReply, TransferRequest,
};
use quorate_sdk::{Code, Status};
use quorate_test::proptest::prelude::{Just, Strategy};
use quorate_test::proptest::prop_oneof;
use quorate_test::{Machine, Model};

fn open(account: &str, balance: u64) -> OpenRequest {
    OpenRequest { account: account.to_owned(), balance }
}

fn transfer(from: &str, to: &str, amount: u64) -> TransferRequest {
    TransferRequest { from: from.to_owned(), to: to.to_owned(), amount }
}

fn balance(account: &str) -> BalanceRequest {
    BalanceRequest { account: account.to_owned() }
}

#[quorate_test::test(native, wasm, cluster)]
fn a_transfer_moves_money(t: &mut Machine<Accounts>) -> Result<(), Status> {
    t.open(open("a", 5))?;
    t.open(open("b", 1))?;
    assert_eq!(t.transfer(transfer("a", "b", 3))?.balance, 2);
    t.restart();
    assert_eq!(t.balance(balance("a"))?.balance, 2);
    assert_eq!(t.balance(balance("b"))?.balance, 4);
    assert_eq!(t.total(TotalRequest {})?, TotalReply { accounts: 2, sum: 6 });
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn nobody_spends_what_is_not_there(t: &mut Machine<Accounts>) -> Result<(), Status> {
    t.open(open("a", 5))?;
    t.open(open("b", 0))?;
    let before = t.snapshot();
    for (from, to, amount, code) in [
        ("a", "b", 6, Code::FailedPrecondition),
        ("a", "nobody", 1, Code::NotFound),
        ("nobody", "a", 0, Code::NotFound),
        ("a", "a", 1, Code::InvalidArgument),
    ] {
        let refused = t.transfer(transfer(from, to, amount));
        assert_eq!(refused.map_err(|status| status.code()), Err(code));
    }
    assert_eq!(t.snapshot(), before, "what is refused changes nothing");
    t.transfer(transfer("a", "b", 5))?;
    t.restore(&before);
    assert_eq!(t.balance(balance("a"))?.balance, 5, "and what was stored can be gone back to");
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn names_have_bounds(t: &mut Machine<Accounts>) -> Result<(), Status> {
    t.open(open(&"a".repeat(200), 5))?;
    for name in ["", &"a".repeat(201)] {
        let refused = t.open(open(name, 5));
        assert_eq!(refused.map_err(|status| status.code()), Err(Code::InvalidArgument));
    }
    Ok(())
}

/// What the ledger does, in a map.
#[derive(Default)]
struct Reference(BTreeMap<String, u64>);

impl Reference {
    fn find(&mut self, account: &str) -> Result<&mut u64, Status> {
        self.0.get_mut(account).ok_or_else(|| Status::not_found(""))
    }

    /// Money comes from outside.
    fn bring(&self, amount: u64) -> Result<(), Status> {
        let sum: u64 = self.0.values().sum();
        sum.checked_add(amount).map(drop).ok_or_else(|| Status::out_of_range(""))
    }
}

impl LedgerCalls for Reference {
    fn open(&mut self, request: OpenRequest) -> Result<OpenReply, Status> {
        if request.account.is_empty() {
            return Err(Status::invalid_argument(""));
        }
        if self.0.contains_key(&request.account) {
            return Err(Status::already_exists(""));
        }
        self.bring(request.balance)?;
        self.0.insert(request.account, request.balance);
        Ok(OpenReply {})
    }

    fn deposit(&mut self, request: DepositRequest) -> Result<DepositReply, Status> {
        self.find(&request.account)?;
        self.bring(request.amount)?;
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
        *self.find(&request.to)? += request.amount;
        *self.find(&request.from)? = left;
        Ok(TransferReply { balance: left })
    }

    fn balance(&mut self, request: BalanceRequest) -> Result<BalanceReply, Status> {
        Ok(BalanceReply { balance: *self.find(&request.account)? })
    }

    fn total(&mut self, _: TotalRequest) -> Result<TotalReply, Status> {
        Ok(TotalReply { accounts: self.0.len() as u64, sum: self.0.values().sum() })
    }
}

#[quorate_test::model(native, wasm, cluster)]
impl Model for Reference {
    type Plugin = Accounts;
    type Call = LedgerCall;

    fn calls() -> impl Strategy<Value = LedgerCall> {
        let account = || prop_oneof![4 => "[a-c]", 1 => Just(String::new())];
        let amount = || prop_oneof![20 => 0..20_u64, 1 => Just(u64::MAX)];
        prop_oneof![
            1 => (account(), amount())
                .prop_map(|(account, balance)| LedgerCall::Open(OpenRequest { account, balance })),
            1 => (account(), amount()).prop_map(|(account, amount)| {
                LedgerCall::Deposit(DepositRequest { account, amount })
            }),
            2 => (account(), account(), amount()).prop_map(|(from, to, amount)| {
                LedgerCall::Transfer(TransferRequest { from, to, amount })
            }),
            1 => account().prop_map(|account| LedgerCall::Balance(BalanceRequest { account })),
        ]
    }

    fn check(&self, machine: &mut Machine<Accounts>) {
        let total = machine.total(TotalRequest {}).expect("it is never refused");
        assert_eq!(total.sum, self.0.values().sum::<u64>(), "money is neither made nor lost");
    }
}
