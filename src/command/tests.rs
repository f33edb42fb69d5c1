use super::*;
use crate::resp::request::{Limits, Parser};

fn route(line: &str) -> Route {
    let limits = Limits { authenticated: true, arguments: 100, ..Limits::UNAUTHENTICATED };
    let (mut parser, line) = (Parser::default(), format!("{line}\r\n"));
    parser.advance(line.as_bytes(), &limits).expect("well formed").expect("whole");
    Commands::default().understand(parser.request(line.as_bytes()).expect("not empty")).route()
}

#[test]
fn a_command_is_known_in_any_case() {
    assert_eq!(route("gEt a"), Route::Forward);
    assert_eq!(route("hello 3"), Route::Here(Local::Hello));
}

#[test]
fn what_changes_its_connection_does_not_run_on_a_shared_one() {
    let pins = [
        ("MULTI", PinReason::Transaction),
        ("WATCH a", PinReason::Watch),
        ("SSUBSCRIBE a", PinReason::Subscription),
        ("BLPOP a 0", PinReason::Blocking),
        ("XREAD COUNT 1 BLOCK 0 STREAMS s $", PinReason::Blocking),
        ("MONITOR", PinReason::Monitor),
        ("GETFOO a", PinReason::Unknown),
        ("a.command.with.a.very.very.very.long.name", PinReason::Unknown),
        ("READONLY", PinReason::Unknown),
    ];
    for (line, reason) in pins {
        assert_eq!(route(line), Route::Pin(reason), "{line}");
    }
    assert_eq!(route("XREAD STREAMS s 0"), Route::Forward);
    let named_so = "XREADGROUP GROUP streams c BLOCK 0 STREAMS s >";
    assert_eq!(route(named_so), Route::Pin(PinReason::Blocking));
    assert_eq!(route("SCRIPT DEBUG YES"), Route::Refuse);
    assert_eq!(route("SCRIPT LOAD x"), Route::Forward);
    assert_eq!(route("PSYNC ? -1"), Route::Refuse);
}

#[test]
fn every_command_is_found_under_its_name_and_no_other() {
    let commands = Commands::default();
    for (number, row) in Commands::rows().iter().enumerate() {
        assert_eq!(commands.find(row.name.to_uppercase().as_bytes()), Some(number));
        assert_eq!(commands.find(format!("{}!", row.name).as_bytes()), None);
    }
    assert_eq!(commands.find(b""), None);
}

#[test]
fn the_table_is_sorted_and_in_lower_case() {
    let names: Vec<_> = Commands::rows().iter().map(|row| row.name).collect();
    assert!(names.len() > 200);
    assert!(names.is_sorted());
    assert!(names.iter().all(|name| name.len() <= LONGEST_NAME && *name == name.to_lowercase()));
}
