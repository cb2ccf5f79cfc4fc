use std::time::Duration;

use tokio::time::advance;

use crate::policy::{Document, Faults, Operation, Playback, Scenario, Source};

const STEPS: &str = r#"
note = "A test."
seed = 7

[[steps]]
at = "0s"
preset = "everyday"
note = "first"

[[steps]]
at = "1m 30s"
preset = "payment-outage"
traffic = 2.5
note = "second"

[[steps]]
at = 120
faults = []
note = "third"
"#;

fn scenario(text: &str) -> Scenario {
    Scenario::from_toml("test", text).unwrap()
}

/// Lets the task that plays the scenario run, after the clock has advanced.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

async fn play(scenario: Scenario) -> (Faults, Playback) {
    let faults = Faults::new(Document::preset("brown-out").unwrap());
    let playback = Playback::new(faults.clone());
    tokio::spawn(playback.clone().run());
    playback.start(scenario);
    settle().await;
    (faults, playback)
}

async fn after(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
    settle().await;
}

fn state(faults: &Faults, playback: &Playback) -> (Option<usize>, Option<&'static str>) {
    (
        playback.current().map(|it| it.step),
        faults.document().name(),
    )
}

#[tokio::test(start_paused = true)]
async fn each_step_starts_at_its_time_and_the_last_one_lasts() {
    let (faults, playback) = play(scenario(STEPS)).await;
    for (seconds, step, preset, traffic) in [
        (0, 0, "everyday", 1.0),
        (89, 0, "everyday", 1.0),
        (1, 1, "payment-outage", 2.5),
        (29, 1, "payment-outage", 2.5),
        (1, 2, "calm", 1.0),
        (100_000, 2, "calm", 1.0),
    ] {
        after(seconds).await;
        assert_eq!(state(&faults, &playback), (Some(step), Some(preset)));
        assert_eq!(playback.traffic(), Some(traffic));
        assert_eq!(faults.current().source, Source::Scenario);
    }
    assert!(playback.current().unwrap().until.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_scenario_that_repeats_starts_over_after_its_period() {
    let (faults, playback) = play(scenario(&format!("repeat_every = \"3m\"\n{STEPS}"))).await;
    for _ in 0..3 {
        assert_eq!(state(&faults, &playback), (Some(0), Some("everyday")));
        after(95).await;
        assert_eq!(state(&faults, &playback), (Some(1), Some("payment-outage")));
        after(30).await;
        assert_eq!(state(&faults, &playback), (Some(2), Some("calm")));
        after(55).await;
    }
    // A process that was suspended continues with the step that is due.
    after(10 * 180 + 95).await;
    assert_eq!(state(&faults, &playback), (Some(1), Some("payment-outage")));
}

#[tokio::test(start_paused = true)]
async fn an_override_without_expiration_lasts_until_the_next_step() {
    let (faults, playback) = play(scenario(STEPS)).await;
    faults.replace(Document::preset("slow-database").unwrap());
    after(60).await;
    assert_eq!(state(&faults, &playback), (Some(0), Some("slow-database")));
    after(30).await;
    assert_eq!(state(&faults, &playback), (Some(1), Some("payment-outage")));
}

#[tokio::test(start_paused = true)]
async fn an_override_that_expires_gives_way_to_the_step_in_force() {
    let (faults, playback) = play(scenario(STEPS)).await;
    let text = r#"{"preset": "slow-database", "expires_after_s": 100}"#;
    faults.replace(Document::from_json(text).unwrap());
    after(95).await;
    assert_eq!(state(&faults, &playback), (Some(1), Some("slow-database")));
    after(5).await;
    assert_eq!(state(&faults, &playback), (Some(1), Some("payment-outage")));
    assert_eq!(faults.current().source, Source::Expiry);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_scenario_restores_the_faults_from_before() {
    let (faults, playback) = play(scenario(STEPS)).await;
    playback.stop();
    assert_eq!(state(&faults, &playback), (None, Some("brown-out")));
    assert_eq!(playback.traffic(), None);
    after(1_000).await;
    assert_eq!(state(&faults, &playback), (None, Some("brown-out")));
    faults.replace(Document::calm());
    playback.stop();
    assert_eq!(state(&faults, &playback), (None, Some("calm")));
}

#[tokio::test(start_paused = true)]
async fn faults_that_are_reloaded_while_a_scenario_plays_apply_after_its_end() {
    let (faults, playback) = play(scenario(STEPS)).await;
    assert!(!faults.reload(Document::preset("slow-database").unwrap()));
    assert_eq!(state(&faults, &playback), (Some(0), Some("everyday")));
    after(90).await;
    assert_eq!(state(&faults, &playback), (Some(1), Some("payment-outage")));
    playback.start(Scenario::named("bad-deploy").unwrap());
    playback.stop();
    assert_eq!(state(&faults, &playback), (None, Some("slow-database")));
    assert!(faults.reload(Document::preset("brown-out").unwrap()));
    assert_eq!(state(&faults, &playback), (None, Some("brown-out")));
}

#[tokio::test(start_paused = true)]
async fn faults_from_before_a_scenario_expire_while_it_plays() {
    let text = r#"{ "preset": "brown-out", "expires_after_s": 100 }"#;
    for (seconds, name) in [(99, "brown-out"), (100, "calm")] {
        let faults = Faults::new(Document::from_json(text).unwrap());
        let playback = Playback::new(faults.clone());
        playback.start(scenario(STEPS));
        after(seconds).await;
        assert_eq!(state(&faults, &playback), (Some(0), Some("everyday")));
        playback.stop();
        assert_eq!(state(&faults, &playback), (None, Some(name)));
        after(1).await;
        assert_eq!(state(&faults, &playback), (None, Some("calm")));
    }
}

#[tokio::test(start_paused = true)]
async fn another_scenario_replaces_the_one_that_plays() {
    let (faults, playback) = play(scenario(STEPS)).await;
    after(89).await;
    playback.start(Scenario::named("bad-deploy").unwrap());
    settle().await;
    after(89).await;
    assert_eq!(state(&faults, &playback), (Some(0), Some("everyday")));
    assert_eq!(playback.current().unwrap().scenario.name(), "bad-deploy");
    after(31).await;
    assert_eq!(state(&faults, &playback), (Some(1), None));
}

#[tokio::test(start_paused = true)]
async fn a_seed_makes_the_decisions_of_every_step_reproducible() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (faults, _playback) = play(scenario(STEPS)).await;
        let mut decisions = Vec::new();
        for _ in 0..2 {
            decisions.extend((0..100).map(|_| faults.decide(Operation::Payment)));
            after(90).await;
        }
        runs.push(decisions);
    }
    assert_eq!(runs[0], runs[1]);
    let seeds: Vec<_> = scenario(STEPS)
        .steps()
        .iter()
        .map(|step| step.document.seed())
        .collect();
    assert_eq!(seeds, [Some(7), Some(8), Some(9)]);
}

#[test]
fn the_scenarios_of_this_crate_are_valid_and_end_as_they_began() {
    let names: Vec<_> = Scenario::all().iter().map(Scenario::name).collect();
    assert_eq!(names, ["calm-day", "black-friday", "bad-deploy"]);
    for scenario in Scenario::all() {
        let text = Scenario::text(scenario.name()).unwrap();
        assert_eq!(
            &Scenario::from_toml(scenario.name(), text).unwrap(),
            scenario
        );
        let last = scenario.steps().last().unwrap();
        assert_eq!(last.document.name(), Some("everyday"));
    }
}

#[test]
fn an_error_has_the_position_the_path_the_value_and_what_is_allowed() {
    let step = |line: &str| {
        format!(
            "note = \"n\"\n[[steps]]\nat = 0\npreset = \"calm\"\nnote = \"a\"\n[[steps]]\n{line}\n"
        )
    };
    for (text, position, message) in [
        ("", None, "missing field `note`"),
        (
            "note = \"n\"\nsteps = []",
            Some((2, 9)),
            "steps: a list of 0 is not allowed: expected a list of 1 to 100 steps",
        ),
        (
            "note = \"\"\nsteps = []",
            Some((1, 8)),
            "note: \"\" is not allowed: expected 1 to 100 characters without line breaks",
        ),
        ("note = [1", None, "not TOML: "),
        (
            &step("at = 0\npreset = \"calm\"\nnote = \"b\""),
            Some((7, 6)),
            "steps[1].at: 0s is not allowed: expected a time after the previous step, which starts at 0s",
        ),
        (
            &step("at = \"soon\"\npreset = \"calm\"\nnote = \"b\""),
            Some((7, 6)),
            "steps[1].at: \"soon\" is not allowed: expected a time of at most a day, such as \"90s\" or \"2m 30s\"; a number is in seconds",
        ),
        (
            &step("at = \"25h\"\npreset = \"calm\"\nnote = \"b\""),
            Some((7, 6)),
            "steps[1].at: \"25h\" is not allowed: expected a time of at most a day",
        ),
        (
            &step("at = -1\npreset = \"calm\"\nnote = \"b\""),
            Some((7, 6)),
            "steps[1].at: -1 is not allowed",
        ),
        (
            &step("at = 5\npreset = \"clam\"\nnote = \"b\""),
            Some((8, 10)),
            "steps[1].preset: \"clam\" is not allowed: expected one of calm, everyday",
        ),
        (
            &step("at = 5\npreset = \"calm\"\ntraffic = 0\nnote = \"b\""),
            Some((9, 11)),
            "steps[1].traffic: 0 is not allowed: expected a number from 0.01 to 100",
        ),
        (
            &step("at = 5\nnote = \"b\""),
            Some((6, 1)),
            "steps[1]: has neither faults nor preset: expected one of them",
        ),
        (
            &step("at = 5\npreset = \"calm\"\nnote = \"b\"\nspeed = 2"),
            Some((10, 9)),
            "steps[1].speed: `speed` is not allowed: expected one of `at`, `preset`, `faults`, `traffic`, `note`",
        ),
        (
            &step(
                "at = 5\nnote = \"b\"\n[[steps.faults]]\noperation = \"payment\"\nfail.as = \"decline\"",
            ),
            Some((11, 11)),
            "steps[1].faults[0].fail.as: ",
        ),
        (
            &format!(
                "repeat_every = 1\n{}",
                step("at = 5\npreset = \"calm\"\nnote = \"b\"")
            ),
            Some((1, 16)),
            "repeat_every: 1s is not allowed: expected a time after the last step, which starts at 5s",
        ),
        (
            "note = \"n\"\nrepeat_every = 0.001\nsteps = [{ at = 0, preset = \"calm\", note = \"a\" }]",
            Some((2, 16)),
            "repeat_every: 1ms is not allowed: expected a time of at least 1s",
        ),
    ] {
        let error = Scenario::from_toml("test", text).unwrap_err();
        assert!(error.to_string().starts_with(message), "{text}\n{error}");
        assert_eq!(error.position, position, "{text}\n{error}");
    }
}
