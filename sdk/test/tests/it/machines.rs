//! What a machine of a test does, at each fidelity alike.

use std::time::Duration;

use ledger::{Accounts, BalanceRequest, DepositRequest, LedgerCalls, OpenRequest, TotalRequest};
use quorate_sdk::{Code, Status};
use quorate_test::{Faults, Fidelity, Machine};

fn open(account: &str, balance: u64) -> OpenRequest {
    OpenRequest { account: account.to_owned(), balance }
}

#[quorate_test::test]
fn time_moves_when_the_test_moves_it(t: &mut Machine<Accounts>) -> Result<(), Status> {
    let begun = t.time_ms();
    t.open(open("a", 1))?;
    t.restart();
    assert_eq!(t.time_ms(), begun);
    t.advance(Duration::from_hours(1));
    t.open(open("b", 1))?;
    assert_eq!(t.time_ms(), begun + 3_600_000);
    Ok(())
}

#[quorate_test::test]
fn a_state_goes_on_in_another_machine(t: &mut Machine<Accounts>) -> Result<(), Status> {
    assert!(t.snapshot().is_empty());
    t.open(open("a", 1))?;
    let early = t.snapshot();
    assert_eq!((early.len(), early.to_string().as_str()), (2, "balances[\"a\"] = 1\nsupply = 1\n"));
    t.open(open("b", 2))?;
    let late = t.snapshot();
    assert_ne!(early, late);
    t.restore(&early);
    assert_eq!(t.snapshot(), early);
    t.open(open("b", 5))?;
    t.restore(&late);
    assert_eq!(t.total(TotalRequest {})?.sum, 3);
    // From one fidelity to another.
    let mut native = Machine::<Accounts>::native();
    native.restore(&late);
    assert_eq!(native.balance(BalanceRequest { account: "b".to_owned() })?.balance, 2);
    Ok(())
}

#[quorate_test::test]
fn a_command_is_executed_once_whatever_goes_wrong(t: &mut Machine<Accounts>) -> Result<(), Status> {
    t.open(open("a", 0))?;
    t.faults(Faults::many());
    for balance in 1..=40 {
        let request = DepositRequest { account: "a".to_owned(), amount: 1 };
        assert_eq!(t.deposit(request)?.balance, balance);
    }
    Ok(())
}

#[quorate_test::test(native, wasm)]
fn a_call_tells_what_it_has_cost(t: &mut Machine<Accounts>) -> Result<(), Status> {
    t.open(open("a", 5))?;
    let costs = t.last_costs().expect("it is counted here");
    // Is there such an account, what is the supply; and both are written.
    assert_eq!(costs.host_calls, 4);
    let keys = ["balances\0a", "supply\0"].map(|key| key.len() as u64);
    let written: u64 = keys.iter().sum();
    assert_eq!(costs.read_bytes, written);
    // Two numbers of two bytes each.
    assert_eq!(costs.written_bytes, written + 4);
    assert_eq!(costs.fuel.is_some(), t.fidelity() == Fidelity::Wasm);
    t.balance(BalanceRequest { account: "a".to_owned() })?;
    assert_eq!(t.last_costs().map(|costs| costs.host_calls), Some(1));
    Ok(())
}

#[test]
fn a_method_that_is_not_there_is_refused_alike() {
    use quorate_sdk::{Caller as _, MethodPath};
    for mut machine in [Machine::<Accounts>::native(), Machine::cluster(1), Machine::wasm()] {
        let told = machine.call::<(), ()>(MethodPath::command("ledger.v1.Ledger/Nothing"), &());
        assert_eq!(told.map_err(|status| status.code()), Err(Code::Unimplemented));
        let told = machine.call::<(), ()>(MethodPath::query("ledger.v1.Ledger/Open"), &());
        assert_eq!(told.map_err(|status| status.code()), Err(Code::Internal));
    }
}
