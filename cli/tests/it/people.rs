//! Signing in from the command line: a person's path, from the operator's invitation to the end of the session.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use eventflow_testkit::{Database, Process, Signal, free_ports};

use crate::{
    dev::Dev,
    support::{Ended, Home, ended, mode},
};

fn ok(ended: Ended) -> String {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out
}

/// Runs with lines on standard input, as a script that knows secrets would.
pub fn with_input(mut command: Command, input: &str) -> Ended {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn variable(home: &Home, name: &str) -> String {
    let env = fs::read_to_string(home.path("dev/dev.env")).unwrap();
    let line = env.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap();
    line.trim_matches('\'').to_owned()
}

#[tokio::test]
async fn somebody_is_invited_signs_in_works_within_their_role_and_signs_out() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    let database = variable(&home, "EVENTFLOW_DATABASE_URL");
    let piped = |arguments: &[&str], input: &str| with_input(home.command(arguments), input);

    // The operator lets the first admin in.
    let create = ["admin", "user", "create", "--organization", "dev", "--email", "Ada@Example.com"];
    let invitation = ok(home.run(&[&create[..], &["--database-url", &database]].concat()));
    assert!(invitation.starts_with("ef_invite_") && invitation.lines().count() == 1, "{invitation}");
    let weak = piped(&["accept"], &format!("{invitation}password1\n"));
    assert!(weak.code == 1 && weak.err.starts_with("error[INVALID_ARGUMENT]"), "{weak:?}");
    ok(piped(&["accept"], &format!("{invitation}gxzpqrtv-ada\n")));

    let login = ["login", "--organization", "dev", "--email", "ada@example.com"];
    let wrong = piped(&login, "wrong\n");
    assert!(wrong.code == 4 && wrong.err.starts_with("error[LOGIN_FAILED]"), "{wrong:?}");
    let signed_in = piped(&login, "gxzpqrtv-ada\n");
    assert!(signed_in.code == 0 && signed_in.err.contains("as ada@example.com (admin)"), "{signed_in:?}");
    assert_eq!(ok(home.run(&["whoami"])), "ada@example.com (admin) of `dev`\n");
    let contexts = home.path("config/eventflow/contexts.toml");
    assert_eq!(mode(&contexts), 0o600);
    assert!(!fs::read_to_string(&contexts).unwrap().contains("gxzpqrtv"), "the password is in the file");

    // The admin lets others in.
    let invited = ok(home.run(&["user", "invite", "bob@example.com", "--role", "viewer"]));
    ok(piped(&["accept"], &format!("{invited}gxzpqrtv-bob\n")));
    let list = ok(home.run(&["user", "list"]));
    assert!(list.contains("bob@example.com") && list.contains("viewer"), "{list}");
    let key = ok(home.run(&["key", "create", "--scope", "publish"]));
    let mut publish = home.command(&["publish", "hello", "first"]);
    ok(crate::support::ended(publish.env("EVENTFLOW_API_KEY", key.trim())));

    // A viewer looks, and does nothing.
    ok(piped(&["login", "--organization", "dev", "--email", "bob@example.com"], "gxzpqrtv-bob\n"));
    assert_eq!(ok(home.run(&["consume", "hello", "--exit", "--format", "payload"])), "first\n");
    for refused in [&["publish", "hello", "x"][..], &["key", "list"], &["user", "list"], &["audit"]] {
        let refused = home.run(refused);
        assert!(refused.code == 4 && refused.err.starts_with("error[PERMISSION_DENIED]"), "{refused:?}");
    }
    ok(piped(&["password"], "gxzpqrtv-bob\nvtrqpzxg-bob\n"));
    ok(home.run(&["logout"]));
    assert_eq!(ok(home.run(&["whoami"])).split(' ').next(), Some("API"), "the key of the context is back");
    let old = piped(&["login", "--organization", "dev", "--email", "bob@example.com"], "gxzpqrtv-bob\n");
    assert!(old.code == 4 && old.err.contains("hint: check organization, address and password"), "{old:?}");

    // All of it is in the audit log, for the admin to see.
    ok(piped(&login, "gxzpqrtv-ada\n"));
    let invited = ok(home.run(&["audit", "--actor", "ada@example.com", "--action", "InviteUser", "--since", "1h"]));
    assert!(invited.contains("role viewer") && invited.contains("127.0.0.1"), "{invited}");
    let operator = ok(home.run(&["audit", "--actor", "operator", "-o", "jsonl"]));
    assert!(operator.contains("InviteUser") && operator.contains("CreateApiKey"), "{operator}");
    let refused = ["audit", "--actor", "bob@example.com", "--result", "refused", "-o", "jsonl"];
    let look = async {
        // poll
        while !ok(home.run(&refused)).contains("ListApiKeys") {}
    };
    eventflow_testkit::within("bob's refusals", look).await;
    assert_eq!(ok(home.run(&["audit", "--since", "2099-01-01"])), "no entries\n");
    dev.stop().await;
}

#[tokio::test]
async fn an_old_access_token_is_refreshed_once_by_commands_at_the_same_time() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    let password = variable(&home, "EVENTFLOW_ADMIN_PASSWORD");
    let email = variable(&home, "EVENTFLOW_ADMIN_EMAIL");
    let login = home.command(&["login", "--organization", "dev", "--email", &email]);
    ok(with_input(login, &format!("{password}\n")));
    let contexts = home.path("config/eventflow/contexts.toml");
    // As if ten minutes had passed.
    let text = fs::read_to_string(&contexts).unwrap();
    let received = text.lines().find(|line| line.starts_with("received_at")).unwrap();
    fs::write(&contexts, text.replace(received, "received_at = 1")).unwrap();
    let children: Vec<_> = (0..6).map(|_| home.command(&["whoami"]).stdout(Stdio::piped()).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stdout.starts_with(b"admin@localhost"), "{output:?}");
    }
    let again = fs::read_to_string(&contexts).unwrap();
    assert!(!again.contains("received_at = 1\n") && mode(&contexts) == 0o600, "{again}");
    // A refresh token that was used already: somebody else has it.
    let stale = text.replace(received, "received_at = 1");
    fs::write(&contexts, stale).unwrap();
    let ended = home.run(&["whoami"]);
    assert!(ended.code == 4 && ended.err.starts_with("error[SESSION_ENDED]"), "{ended:?}");
    assert!(ended.err.contains("hint: sign in again with `eventflow login`"), "{ended:?}");
    dev.stop().await;
}

#[tokio::test]
async fn a_newcomer_goes_all_the_way_on_dev() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    let url = format!("eventflow://{}?tls=off", dev.listen);
    newcomer(&home, &url).await;
    dev.stop().await;
}

#[tokio::test]
async fn a_newcomer_goes_all_the_way_on_serve() {
    let (home, database) = (Home::new(), Database::empty().await);
    assert_eq!(home.run(&["migrate", "--database-url", &database.url()]).code, 0);
    let [grpc, http]: [u16; 2] = free_ports();
    let mut serve = home.command(&["serve", "--allow-unsafe-durability"]);
    serve
        .env("EVENTFLOW_DATABASE_URL", database.url())
        .env("EVENTFLOW_SERVER_LISTEN", format!("127.0.0.1:{grpc}"))
        .env("EVENTFLOW_HTTP_LISTEN", format!("127.0.0.1:{http}"))
        .env("EVENTFLOW_ACCOUNTS_REGISTRATION", "open");
    let mut broker = Process::start(serve);
    broker.wait_for_line("serving").await;
    newcomer(&home, &format!("eventflow://127.0.0.1:{grpc}?tls=off")).await;
    broker.signal(Signal::TERM);
    assert!(broker.wait().await.success());
}

/// From the registration to a key that is revoked while it consumes.
async fn newcomer(home: &Home, url: &str) {
    let command = |arguments: &[&str]| home.command(&[arguments, &["--url", url]].concat());
    let run = |arguments: &[&str]| ended(&mut command(arguments));
    let register = ["register", "--organization", "acme", "--email", "Ada@Example.com", "--display-name", "Acme, Inc."];
    let weak = with_input(command(&register), "password1\n");
    assert!(weak.code == 1 && weak.err.starts_with("error[INVALID_ARGUMENT]"), "{weak:?}");
    let registered = with_input(command(&register), "gxzpqrtv-ada\n");
    assert!(registered.code == 0 && registered.err.contains("signed in as ada@example.com (admin)"), "{registered:?}");
    let taken = with_input(command(&register), "gxzpqrtv-ada\n");
    assert!(taken.code == 5 && taken.err.starts_with("error[ORGANIZATION_EXISTS]"), "{taken:?}");
    ok(run(&["logout"]));
    assert!(!run(&["whoami"]).out.contains("ada@example.com"), "nobody is signed in");
    ok(with_input(command(&["login", "--organization", "acme", "--email", "ada@example.com"]), "gxzpqrtv-ada\n"));
    assert_eq!(ok(run(&["whoami"])), "ada@example.com (admin) of `acme`\n");
    assert!(ok(run(&["org", "show"])).starts_with("acme (Acme, Inc.), since "));
    assert!(ok(run(&["org", "rename", "Acme"])).starts_with("acme (Acme), since "));
    assert_eq!(ok(run(&["stream", "list", "-o", "json"])).trim(), "[]", "the streams of others");
    ok(run(&["stream", "create", "hello"]));

    let with = |key: &str, arguments: &[&str]| {
        let mut command = command(arguments);
        command.env("EVENTFLOW_API_KEY", key.trim());
        command
    };
    let id = |key: &str| key.trim().split('_').nth(2).unwrap().to_owned();
    let publisher = ok(run(&["key", "create", "--scope", "publish"]));
    ok(ended(&mut with(&publisher, &["publish", "hello", "first"])));
    for denied in [
        &["stream", "delete", "hello", "--yes"][..],
        &["consume", "hello", "--exit"],
        &["key", "create"],
        &["user", "list"],
    ] {
        let refused = ended(&mut with(&publisher, denied));
        assert!(refused.code == 4 && refused.err.starts_with("error[PERMISSION_DENIED]"), "{denied:?}: {refused:?}");
    }
    let rotated = ok(run(&["key", "rotate", &id(&publisher), "--overlap", "1h"]));
    for key in [&publisher, &rotated] {
        ok(ended(&mut with(key, &["publish", "hello", "second"])));
    }

    let consumer = ok(run(&["key", "create", "--scope", "consume"]));
    ok(run(&["group", "create", "billing", "--stream", "hello"]));
    let mut member = Process::start(with(&consumer, &["consume", "hello", "--group", "billing", "--format", "%v"]));
    member.wait_for_line("first").await;
    let revoked = Instant::now();
    ok(run(&["key", "revoke", &id(&consumer), "--yes"]));
    member.wait_for_line("error[UNAUTHENTICATED]").await;
    // bound: 5 s
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
    assert_eq!(member.wait().await.code(), Some(4));
    let again = ended(&mut with(&consumer, &["stream", "list"]));
    assert!(again.code == 4 && again.err.starts_with("error[UNAUTHENTICATED]"), "{again:?}");
    assert!(ok(run(&["audit", "--action", "Register"])).contains("organization:acme"));
    assert!(ok(run(&["audit", "--action", "RevokeApiKey"])).contains(&format!("key:{}", id(&consumer))));
}
