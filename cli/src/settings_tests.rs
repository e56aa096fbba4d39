//! Which layer wins.

use super::*;
use crate::config::RepositoryConfig;

fn config() -> Config {
    Config {
        repository: RepositoryConfig {
            address: Some("/configured".into()),
            password: Some(PasswordFrom::File("/configured-pw".into())),
            ..RepositoryConfig::default()
        },
        ..Config::default()
    }
}

fn resolve<const N: usize>(
    global: &GlobalArgs,
    variables: [(&str, &str); N],
    config: Config,
) -> Result<Settings, CliError> {
    let mut environment = Environment::from(variables);
    if environment.os("HOME").is_none() {
        environment = environment.with("HOME", "/home/me");
    }
    Settings::resolve(global, &environment, config)
}

fn typed() -> GlobalArgs {
    GlobalArgs {
        repo: Some("/typed".into()),
        password_command: Some("typed".into()),
        ..GlobalArgs::default()
    }
}

const OURS: [(&str, &str); 2] = [
    ("KEEPSTONE_REPOSITORY", "/ours"),
    ("KEEPSTONE_PASSWORD", "hunter2"),
];
const THEIRS: [(&str, &str); 2] = [
    ("RESTIC_REPOSITORY", "/theirs"),
    ("RESTIC_PASSWORD_FILE", "/their-pw"),
];

#[test]
fn arguments_win_over_environment_over_file_over_restic() {
    let all = [OURS[0], OURS[1], THEIRS[0], THEIRS[1]];
    let check = |settings: Settings, address: &str, unlock: &str| {
        assert_eq!(settings.repository().unwrap(), address);
        assert_eq!(format!("{:?}", settings.unlock.unwrap()), unlock);
    };
    let none = GlobalArgs::default();
    check(
        resolve(&typed(), all, config()).unwrap(),
        "/typed",
        "Password(Command)",
    );
    check(
        resolve(&none, all, config()).unwrap(),
        "/ours",
        "Password(Value)",
    );
    check(
        resolve(&none, THEIRS, config()).unwrap(),
        "/configured",
        "Password(File(\"/configured-pw\"))",
    );
    let settings = resolve(&none, THEIRS, Config::default()).unwrap();
    assert_eq!(settings.notes.len(), 2);
    check(settings, "/theirs", "Password(File(\"/their-pw\"))");
}

#[test]
fn a_layer_must_not_contradict_itself() {
    let twice = GlobalArgs {
        repository_file: Some("/file".into()),
        ..typed()
    };
    let error = resolve(&twice, [], Config::default()).unwrap_err();
    assert_eq!(
        error.message(),
        "--repo and --repository-file exclude each other"
    );
    let error = resolve(
        &GlobalArgs::default(),
        [
            ("KEEPSTONE_PASSWORD", "hunter2"),
            ("KEEPSTONE_KEY_FILE", "/k"),
        ],
        Config::default(),
    )
    .unwrap_err();
    assert_eq!(
        error.message(),
        "KEEPSTONE_PASSWORD and KEEPSTONE_KEY_FILE exclude each other"
    );
    // Two layers may differ: the upper one wins.
    assert!(resolve(&typed(), OURS, config()).is_ok());
}

#[test]
fn no_repository_and_a_secret_in_its_address_are_usage_errors() {
    let none = resolve(&GlobalArgs::default(), [], Config::default()).unwrap();
    assert_eq!(none.repository().unwrap_err().exit_code().code(), 2);
    let secret = [("KEEPSTONE_REPOSITORY", "s3://b?secret_access_key=hunter2")];
    let settings = resolve(&GlobalArgs::default(), secret, Config::default()).unwrap();
    let message = settings.repository().unwrap_err().message();
    assert_eq!(message, "the repository address s3://b holds a secret");
}

#[test]
fn folders_follow_xdg_and_systemd() {
    let folders = |settings: Settings| (settings.cache_dir, settings.state_dir);
    let none = GlobalArgs::default();
    assert_eq!(
        folders(resolve(&none, [], Config::default()).unwrap()),
        (
            Some("/home/me/.cache/keepstone".into()),
            "/home/me/.local/state/keepstone".into()
        )
    );
    let unit = [
        ("STATE_DIRECTORY", "/var/lib/keepstone"),
        ("KEEPSTONE_NO_CACHE", "1"),
    ];
    assert_eq!(
        folders(resolve(&none, unit, Config::default()).unwrap()),
        (None, "/var/lib/keepstone".into())
    );
    // Asked for here, a cache is kept although the environment says none.
    let cached = GlobalArgs {
        cache_dir: Some("/cache".into()),
        ..GlobalArgs::default()
    };
    assert_eq!(
        folders(resolve(&cached, unit, Config::default()).unwrap()).0,
        Some("/cache".into())
    );
}

#[test]
fn speech_is_settled_by_flags_then_environment() {
    let options = |global: &GlobalArgs, environment: Environment| {
        ui_options(global, &environment, true).unwrap()
    };
    let quiet = GlobalArgs {
        quiet: true,
        ..GlobalArgs::default()
    };
    let none = GlobalArgs::default();
    let verbose_twin = || Environment::from([("KEEPSTONE_VERBOSE", "1"), ("TERM", "xterm")]);
    assert_eq!(options(&none, verbose_twin()).level, Level::Verbose);
    assert_eq!(options(&quiet, verbose_twin()).level, Level::Quiet);
    assert!(options(&none, verbose_twin()).color);
    assert!(!options(&none, verbose_twin().with("NO_COLOR", "1")).color);
    assert!(!options(&none, verbose_twin().with("TERM", "dumb")).color);
    assert!(options(&none, verbose_twin().with("KEEPSTONE_JSON", "true")).json);
    let wrong = Environment::from([("KEEPSTONE_JSON", "maybe")]);
    assert!(ui_options(&none, &wrong, true).is_err());
}

#[test]
fn every_global_flag_names_its_twin() {
    use clap::CommandFactory as _;

    for argument in crate::args::Cli::command().get_arguments() {
        let help = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let id = argument.get_id().as_str();
        // What a repository has become is accepted once, by somebody who looks: never for good.
        let exempt = ["help", "version", "accept_change"].contains(&id);
        assert!(exempt || help.contains("[env: KEEPSTONE_"), "{id}: {help}");
    }
}
