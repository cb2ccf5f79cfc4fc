//! Extent of a benchmark: a measurement, or a short run that tests it.

/// Returns whether the benchmark only has to run, as with `cargo test --benches` or
/// `cargo bench -- --test`.
///
/// Only `cargo bench` passes `--bench`. Criterion follows the same rule.
pub fn is_test() -> bool {
    is_test_with(std::env::args().skip(1))
}

fn is_test_with(arguments: impl Iterator<Item = String>) -> bool {
    let mut measures = false;
    for argument in arguments {
        match &*argument {
            "--test" => return true,
            "--bench" => measures = true,
            _ => {}
        }
    }
    !measures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cargo_bench_measures_and_not_if_it_is_asked_to_test() {
        for (arguments, expected) in [
            ("", true),
            ("--bench", false),
            ("--bench --test", true),
            ("--test --bench", true),
            ("router --bench", false),
        ] {
            let all = arguments.split_whitespace().map(str::to_owned);
            assert_eq!(is_test_with(all), expected, "{arguments:?}");
        }
    }
}
