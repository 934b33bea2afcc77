//! Accounts and transfers between them. The service is in `proto/ledger/v1/ledger.proto`; this is
//! all of its implementation.

use quorate_sdk::{Command, Counter, Map, Query, Status};

quorate_sdk::plugin!(impl Ledger for Accounts);

/// The state machine. Its state is in the collections below, not in here.
#[derive(Debug)]
pub struct Accounts;

const BALANCES: Map<String, u64> = Map::new("balances");
/// All that was ever brought. It fits 64 bits, and so does whatever part of it is in an account.
const SUPPLY: Counter = Counter::new("supply");

const NAME_BYTES_MAX: usize = 200;

impl Ledger for Accounts {
    fn open(cx: &mut Command<'_>, request: OpenRequest) -> Result<OpenReply, Status> {
        // What clients send becomes a part of the state, so it has bounds.
        if !(1..=NAME_BYTES_MAX).contains(&request.account.len()) {
            let message = format!("an account's name has 1 to {NAME_BYTES_MAX} bytes");
            return Err(Status::invalid_argument(message));
        }
        if BALANCES.get(cx, &request.account).is_some() {
            return Err(Status::already_exists("there is an account of that name"));
        }
        bring(cx, request.balance)?;
        BALANCES.insert(cx, &request.account, &request.balance);
        Ok(OpenReply {})
    }

    fn deposit(cx: &mut Command<'_>, request: DepositRequest) -> Result<DepositReply, Status> {
        let balance = balance(cx, &request.account)?;
        bring(cx, request.amount)?;
        let balance = balance + request.amount;
        BALANCES.insert(cx, &request.account, &balance);
        Ok(DepositReply { balance })
    }

    fn transfer(cx: &mut Command<'_>, request: TransferRequest) -> Result<TransferReply, Status> {
        let TransferRequest { from, to, amount } = request;
        if from == to {
            return Err(Status::invalid_argument("a transfer is between two accounts"));
        }
        let left = balance(cx, &from)?
            .checked_sub(amount)
            .ok_or_else(|| Status::failed_precondition("there is not enough in the account"))?;
        let there = balance(cx, &to)? + amount;
        BALANCES.insert(cx, &from, &left);
        BALANCES.insert(cx, &to, &there);
        Ok(TransferReply { balance: left })
    }

    fn balance(cx: &Query<'_>, request: BalanceRequest) -> Result<BalanceReply, Status> {
        Ok(BalanceReply { balance: balance(cx, &request.account)? })
    }

    fn total(cx: &Query<'_>, _: TotalRequest) -> Result<TotalReply, Status> {
        let mut total = TotalReply::default();
        for (_, balance) in BALANCES.iter(cx) {
            total.accounts += 1;
            total.sum += balance;
        }
        Ok(total)
    }
}

fn balance(cx: &Query<'_>, account: &str) -> Result<u64, Status> {
    let missing = || Status::not_found(format!("there is no account {account:?}"));
    BALANCES.get(cx, account).ok_or_else(missing)
}

/// Money comes from outside.
fn bring(cx: &mut Command<'_>, amount: u64) -> Result<(), Status> {
    let too_much = || Status::out_of_range("a ledger has no room for more than 2^64 - 1");
    let supply = SUPPLY.get(cx).checked_add(amount).ok_or_else(too_much)?;
    SUPPLY.set(cx, supply);
    Ok(())
}
