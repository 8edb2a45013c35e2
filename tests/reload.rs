//! The file, put in force again when it changes, under running calls.

use std::fs;

use seaway::reload::{Outcome, Reload};
use seaway::runtime::{CallError, CallRecord, types};
use seaway_tests::answer::{Answer, Gate};
use seaway_tests::eventually;
use seaway_tests::host::{Host, file, prompt};
use seaway_tests::origin::Origin;
use seaway_tests::provider::whole;
use tokio::task::JoinSet;

async fn hello() -> Origin {
    Origin::plain(|_: &_| whole("hello")).await
}

async fn complete(host: &Host, model: &str) -> Result<types::Completion, CallError> {
    host.runtime.complete(prompt(model, "hello"), &CallRecord::new()).await
}

fn swapped(reload: &mut Reload) -> bool {
    match reload.look() {
        Outcome::Unchanged => false,
        Outcome::Swapped(_) => true,
        Outcome::Refused(error) => panic!("refused: {error}"),
    }
}

fn refused(reload: &mut Reload) -> Option<String> {
    match reload.look() {
        Outcome::Refused(error) => Some(error.to_string()),
        Outcome::Unchanged => None,
        Outcome::Swapped(_) => panic!("put in force"),
    }
}

/// Policy, providers and models: the next call has the new ones, and a call that runs ends under the old.
#[tokio::test]
async fn a_changed_file_is_in_force_for_the_next_call() {
    let gate = Gate::shut();
    let waits = gate.clone();
    let origin = Origin::plain(move |request: &seaway_tests::request::Request| {
        let answer: Answer = whole("hello");
        if request.body.windows(4).any(|bytes| bytes == b"slow") { answer.after(&waits) } else { answer }
    })
    .await;
    let host = Host::of(&origin, "");
    let mut reload = host.reload();
    assert!(!swapped(&mut reload), "a file that is missing for a moment is no change");
    let running = complete(&host, "test/slow");
    let change = async {
        origin.requests(1).await;
        let new = format!("pool.limit = 3\n{}[models.quick]\nprovider = \"test\"\nmodel = \"m-2\"\n", file(&origin));
        host.folder.write("seaway.toml", new);
        assert!(complete(&host, "quick").await.is_err());
        assert!(swapped(&mut reload));
        assert!(!swapped(&mut reload));
        complete(&host, "quick").await.unwrap();
        gate.open(1);
    };
    let (answer, ()) = tokio::join!(running, change);
    answer.unwrap();
    assert_eq!((host.session.policy().pool.limit, host.session.figures().swapped), (3, 1));
    // The instance that ran under the old tables is gone; the one that was made for the new ones serves.
    let record = CallRecord::new();
    host.runtime.complete(prompt("quick", "again"), &record).await.unwrap();
    assert!(record.reused());
    complete(&host, "quick").await.unwrap();
}

/// W2: a file that cannot be used is told once, and what was in force stays.
#[tokio::test]
async fn a_file_that_cannot_be_used_is_told_once() {
    let origin = hello().await;
    let host = Host::of(&origin, "pool.limit = 7");
    let mut reload = host.reload();
    for (text, says) in [
        ("[pool".to_owned(), "seaway.toml:1"),
        (format!("pool.limmit = 3\n{}", file(&origin)), "nearest: `pool.limit`"),
        (format!("tls.ca = [\"gone.pem\"]\n{}", file(&origin)), "gone.pem"),
        (format!("{}[models.x]\nprovider = 3", file(&origin)), "models.x.provider"),
    ] {
        host.folder.write("seaway.toml", &text);
        let error = refused(&mut reload).expect("the file has changed");
        assert!(error.contains(says), "{error}");
        assert_eq!(refused(&mut reload), None);
        complete(&host, "test/m-1").await.unwrap();
    }
    host.folder.write("seaway.toml", [0xFF, 0xFE]);
    assert!(refused(&mut reload).is_some_and(|error| error.contains("utf-8")));
    assert_eq!(refused(&mut reload), None);
    // As a file is while it is being written.
    host.folder.write("seaway.toml", "");
    assert!(refused(&mut reload).is_some_and(|error| error.contains("is empty")));
    fs::remove_file(host.folder.path().join("seaway.toml")).unwrap();
    let looks: Vec<_> = (0..4).map(|_| refused(&mut reload).is_some()).collect();
    assert_eq!(looks, [false, true, false, false]);
    assert_eq!((host.session.policy().pool.limit, host.session.figures().swapped), (7, 0));
    host.folder.write("seaway.toml", format!("pool.limit = 8\n{}", file(&origin)));
    assert!(swapped(&mut reload));
}

/// An editor's rename, and Kubernetes' mount, in which the file is a link through a folder whose link moves.
#[cfg(unix)]
#[tokio::test]
async fn renames_and_moving_links_are_changes() {
    let origin = hello().await;
    let host = Host::of(&origin, "");
    let mut reload = host.reload();
    let (folder, text) = (host.folder.path(), |limit: usize| format!("pool.limit = {limit}\n{}", file(&origin)));
    host.folder.write("seaway.toml", text(1));
    assert!(swapped(&mut reload));
    host.folder.write("seaway.toml.new", text(2));
    fs::rename(folder.join("seaway.toml.new"), folder.join("seaway.toml")).unwrap();
    assert!(swapped(&mut reload));
    for limit in [3, 4] {
        let version = folder.join(format!("..version-{limit}"));
        fs::create_dir(&version).unwrap();
        fs::write(version.join("seaway.toml"), text(limit)).unwrap();
        std::os::unix::fs::symlink(&version, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        if limit == 3 {
            fs::remove_file(folder.join("seaway.toml")).unwrap();
            std::os::unix::fs::symlink("..data/seaway.toml", folder.join("seaway.toml")).unwrap();
        }
        assert!(swapped(&mut reload));
        assert_eq!(host.session.policy().pool.limit, limit);
    }
    assert!(!swapped(&mut reload));
}

/// The watch looks by itself, and SIGHUP has the file read again even if it has not changed.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watch_sees_a_change_and_obeys_sighup() {
    let origin = hello().await;
    let host = Host::of(&origin, "");
    host.folder.write("seaway.toml", format!("pool.limit = 5\n{}", file(&origin)));
    let mut watch = JoinSet::new();
    watch.spawn(host.reload().run());
    eventually("the file is in force", || host.session.figures().swapped == 1).await;
    let own = std::process::id().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &own]).status().unwrap().success());
    eventually("the file is in force again", || host.session.figures().swapped == 2).await;
    complete(&host, "test/m-1").await.unwrap();
}
