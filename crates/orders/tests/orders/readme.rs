//! `crates/orders/README.md` says what the code does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use orders::testing::{
    NOW, TRANSACTION, accepted, context, order_in, paid, payment, request, sample, transaction,
};
use orders::{
    Exception, ExceptionKind, FieldProblem, OrderKey, OrderRequest, OrderView, Problem, Reply,
    StateName, Step, event,
};
use serde_json::Value;
use uuid::Uuid;

const README: &str = include_str!("../../README.md");
const ID: Uuid = Uuid::from_u128(0x0198_2b1c_94d7_7b0f_a3b5_5d0c_77e1_9a42);

/// The rows of the table whose header begins with `first_column` and has the most columns, header
/// first, without back-ticks.
pub(crate) fn table(first_column: &str) -> Vec<Vec<String>> {
    let tables = README.split("\n\n").filter(|block| {
        block.strip_prefix("| ").is_some_and(|row| row.starts_with(&format!("{first_column} |")))
    });
    let table = tables.max_by_key(|table| columns(table)).expect("the README has the table");
    let rows = table.lines().filter(|row| !row.starts_with("|---"));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    })
    .collect()
}

fn columns(table: &str) -> usize {
    table.lines().next().unwrap_or_default().matches('|').count()
}

/// The names in the first column; a cell may list several.
fn names(first_column: &str) -> Vec<String> {
    let rows = table(first_column).into_iter().skip(1);
    rows.flat_map(|row| row[0].split(", ").map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn block(name: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("\n```json {name}\n")).expect(name);
    rest.split_once("\n```\n").expect("the block ends").0
}

fn json_block(name: &str) -> Value {
    serde_json::from_str(block(name)).unwrap()
}

#[test]
fn readme_order_and_key_parse() {
    let order = OrderRequest::parse(block("order").as_bytes()).unwrap();
    assert_eq!(order, request(&sample()));
    assert_eq!(OrderKey::parse(block("key").as_bytes()), Ok(order.key()));
}

#[test]
fn readme_events_are_the_events_of_the_code() {
    let order = accepted(&sample());
    let key = order.key();
    let payable = order_in(StateName::Payable, &sample());
    let applied = payable.apply(&paid(payment(&order)), &context(NOW)).unwrap();
    let Step::Moved(transition) = applied.step else { panic!("a payable order becomes paid") };
    let view = OrderView::of(&applied.order, Vec::new(), None);
    let exception = Exception {
        kind: ExceptionKind::UnknownOrder,
        transaction_id: Some(transaction(TRANSACTION)),
        differs: Vec::new(),
    };
    let conflict = Problem::conflict(&["total_fee"], StateName::Payable);
    for event in [
        event::of_transition(ID, &transition, &view),
        event::of_exception(ID, &exception, &key, None, NOW),
        event::of_rejection("0198-1", &key.mch_id, key.out_trade_no.as_str(), &conflict, NOW),
    ] {
        let made: Value = serde_json::from_str(&event.body).unwrap();
        assert_eq!(json_block(&format!("event {}", event.kind)), made);
    }
}

#[test]
fn readme_reply_is_the_reply_of_the_code() {
    let rule = "a whole number of fen from 1 to 9007199254740991";
    let problem = Problem::invalid(vec![FieldProblem::new("total_fee", rule)]);
    assert_eq!(json_block("reply"), serde_json::to_value(Reply::problem(problem)).unwrap());
}

#[test]
fn every_json_block_of_the_readme_is_tested() {
    let blocks = README.lines().filter_map(|line| line.strip_prefix("```json"));
    let tested = ["order", "key", "event order.paid", "event exception.opened"];
    let tested = tested.into_iter().chain(["event order.rejected", "reply"]);
    assert!(blocks.map(str::trim).eq(tested));
}

#[test]
fn readme_names_every_field_of_an_order() {
    assert_eq!(names("field"), crate::order_json::FIELDS);
}

#[test]
fn readme_names_every_state_exception_and_event() {
    let mut states: Vec<_> = names("state");
    states.sort();
    let mut expected = StateName::ALL.map(StateName::as_str);
    expected.sort_unstable();
    assert_eq!(states, expected);
    assert_eq!(names("kind"), ExceptionKind::ALL.map(ExceptionKind::as_str));
    let mut types = StateName::ALL.map(event::type_of).to_vec();
    types.extend([event::EXCEPTION_OPENED, event::ORDER_REJECTED]);
    types.sort_unstable();
    let mut named = names("type");
    named.sort();
    assert_eq!(named, types);
}

#[test]
fn readme_names_every_problem_type_with_its_status() {
    let mut made = BTreeMap::new();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for name in ["orders", "ingress", "worker"] {
        find_problems(&crates.join(name).join("src"), &mut made);
    }
    let rows = table("problem").into_iter().skip(1);
    let named: BTreeMap<String, u16> =
        rows.map(|row| (row[0].clone(), row[1].parse().unwrap())).collect();
    assert_eq!(named, made);
}

/// The slug and status of every call of `Problem::new` in the sources.
fn find_problems(folder: &Path, made: &mut BTreeMap<String, u16>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_problems(&path, made);
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let is_problem = path.ends_with("orders/src/problem.rs");
        let constructor = if is_problem { "Self::new(" } else { "Problem::new(" };
        for call in source.split(constructor).skip(1) {
            let arguments: Vec<&str> = call.split(')').next().unwrap().split('"').collect();
            let [_, slug, _, _title, status] = arguments[..] else { continue };
            // Only a Problem has a status; a FieldProblem ends with its rule.
            if let Ok(status) = status.trim_matches([',', ' ', '\n']).parse() {
                made.insert(slug.to_owned(), status);
            }
        }
    }
}
