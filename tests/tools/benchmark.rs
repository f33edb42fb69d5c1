//! `redis-benchmark`: every test it has, whatever the depth of its pipeline.

use super::{Place, run};

/// The names of the tests it ran.
fn names(csv: &str) -> Vec<String> {
    let rows = csv.lines().filter(|line| line.starts_with('"'));
    // The first is the header.
    rows.skip(1).map(|line| line.split("\",\"").next().expect("a name").to_owned()).collect()
}

#[test]
fn redis_benchmark_runs_all_its_tests() {
    let place = Place::new();
    let all = names(&run(place.server.port(), "redis-benchmark", &["-n", "10", "--csv"], b"").text);
    assert!(all.len() > 18, "{all:?}");
    for more in [
        &["-P", "1"][..],
        &["-P", "64"],
        &["-P", "64", "--threads", "2"],
        &["-P", "64", "-3"],
        &["-P", "1", "-3", "-r", "1000"],
    ] {
        let args = [&["-n", "1000", "-c", "20", "-d", "100", "--csv"], more].concat();
        let said = place.run("redis-benchmark", &args, b"");
        assert!(!said.to_lowercase().contains("error"), "{args:?}: {said}");
        assert_eq!(names(&said), all, "{args:?}");
    }
}

#[test]
fn redis_benchmark_runs_what_it_is_given() {
    let place = Place::new();
    for args in [
        &["-k", "0", "-n", "300"][..],
        &["-r", "100", "SET", "key:__rand_int__", "v"],
        &["-P", "10", "EVAL", "return redis.call('INCR', KEYS[1])", "1", "n"],
        &["--dbnum", "3", "-t", "set,get"],
    ] {
        let args = [&["-n", "500", "-c", "20", "-q"], args].concat();
        let said = place.run("redis-benchmark", &args, b"");
        assert!(said.contains("requests per second"), "{args:?}: {said}");
        assert!(!said.to_lowercase().contains("error"), "{args:?}: {said}");
    }
    assert_eq!(place.server.cli(&["GET", "n"]), "500");
    assert_eq!(place.server.cli(&["-n", "3", "DBSIZE"]), "1");
}
