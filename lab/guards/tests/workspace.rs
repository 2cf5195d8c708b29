//! This workspace keeps the rules; beside each a planted violation is found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, TargetKind};
use guards::arrows::{self, Arrow, Links};
use guards::documents;
use guards::sources::{self, Source};

/// Files over the limit, each with the reason why they stay whole.
const LONG_FILES: [(&str, &str); 2] = [
    (
        "core/resource/src/kinds/felix_configuration.rs",
        "a table: Felix's 181 parameters with their types",
    ),
    (
        "core/resource/src/kinds/felix_rules.rs",
        "a table: the rules of the same parameters",
    ),
];

/// What a file of `core/` holds all the same, each with the reason.
const IMPURE: [(&str, &str, &str); 1] = [(
    "core/resource/src/memory.rs",
    "Mutex",
    "a Store is shared, and this one has no file to lock; no lock is held over an await",
)];

/// Tests that let time pass, each with the reason why there is no condition to wait for.
const SLEEPING: [(&str, &str); 6] = [
    (
        "host/speaker/tests/adversary/crowd.rs",
        "one thread reads 500 sockets in turn, and pauses when none has anything",
    ),
    (
        "host/speaker/tests/adversary/scenarios.rs",
        "asks again whether ours has dialled",
    ),
    (
        "host/speaker/tests/adversary/session.rs",
        "asks again whether another daemon listens and takes the session",
    ),
    (
        "app/cni/tests/processes.rs",
        "kills processes at random moments, so time has to pass between them",
    ),
    (
        "app/cni/tests/runtime.rs",
        "kills a process at every stage of its work, which nothing outside it can see",
    ),
    (
        "host/speaker/tests/interop/lab.rs",
        "asks other daemons again until they say so; birdc and vtysh give no event to wait for",
    ),
];

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../..")
        .canonicalize()
        .expect("the workspace is two folders up")
});

/// What cargo resolves for the platform that nodes run on. Features are those of the whole workspace together, so that a
/// crate of `core/` is judged with all that any other crate switches on for it.
static METADATA: LazyLock<Metadata> = LazyLock::new(|| {
    let platform = ["--filter-platform", "x86_64-unknown-linux-gnu"];
    MetadataCommand::new()
        .manifest_path(ROOT.join("Cargo.toml"))
        .features(CargoOpt::SomeFeatures(Vec::new()))
        .other_options(platform.map(str::to_owned).to_vec())
        .exec()
        .expect("cargo metadata reads this workspace")
});

/// A workspace crate's path below the workspace.
fn folder(manifest: &Path) -> String {
    let crate_dir = manifest.parent().expect("a manifest is in a folder");
    let below = crate_dir
        .strip_prefix(&*ROOT)
        .expect("a member is in the workspace");
    below.to_str().expect("our paths are ASCII").to_owned()
}

fn workspace_arrows() -> Vec<Arrow> {
    let mut found = BTreeSet::new();
    for package in METADATA.workspace_packages() {
        // Of every kind: a test that uses a crate above its own turns the arrow too.
        for dependency in &package.dependencies {
            if let Some(path) = &dependency.path {
                found.insert(Arrow {
                    from: folder(package.manifest_path.as_std_path()),
                    to: folder(path.join("Cargo.toml").as_std_path()),
                });
            }
        }
    }
    found.into_iter().collect()
}

/// What is linked into what. A procedural macro runs in the compiler and is not linked.
fn links() -> Links {
    let resolve = METADATA
        .resolve
        .as_ref()
        .expect("metadata was asked with dependencies");
    let mut links = Links::new();
    for node in &resolve.nodes {
        let from = links
            .entry(METADATA[&node.id].name.to_string())
            .or_default();
        for dependency in &node.deps {
            let package = &METADATA[&dependency.pkg];
            let is_normal = (dependency.dep_kinds.iter()).any(|k| k.kind == DependencyKind::Normal);
            let is_macro =
                (package.targets.iter()).any(|t| t.kind.contains(&TargetKind::ProcMacro));
            if is_normal && !is_macro {
                from.insert(package.name.to_string());
            }
        }
    }
    links
}

fn core_crates() -> Vec<String> {
    METADATA
        .workspace_packages()
        .iter()
        .filter(|p| folder(p.manifest_path.as_std_path()).starts_with("core/"))
        .map(|p| p.name.to_string())
        .collect()
}

/// Every Rust file of the four folders.
fn all_sources() -> Vec<Source> {
    let mut pending: Vec<PathBuf> = ["core", "host", "app", "lab"].map(|f| ROOT.join(f)).into();
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder of the workspace can be read");
            pending.extend(entries.map(|e| e.expect("its entries too").path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let below = path
                .strip_prefix(&*ROOT)
                .expect("it is below the workspace");
            found.push(Source {
                path: below.to_str().expect("our paths are ASCII").to_owned(),
                text: fs::read_to_string(&path).expect("a source file is text"),
            });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(ROOT.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Fails with what was found, one line each.
fn check(found: &[String]) {
    assert!(found.is_empty(), "\n  {}\n", found.join("\n  "));
}

#[test]
fn arrows_go_from_app_to_host_to_core_and_from_lab_to_both() {
    let arrows = workspace_arrows();
    check(&arrows::turned_back(&arrows));

    let arrow = |from: &str, to: &str| Arrow {
        from: from.into(),
        to: to.into(),
    };
    assert!(
        arrows.contains(&arrow("core/dns", "core/service")),
        "arrows are seen at all"
    );
    for (from, to) in [
        ("core/dns", "host/agent"),
        ("core/dns", "app/ctl"),
        ("core/dns", "lab/sim"),
        ("host/agent", "app/ctl"),
        ("host/agent", "lab/netns"),
        ("app/ctl", "lab/netns"),
        ("app/selvedge", "lab/guards"),
        ("lab/netns", "app/selvedge"),
        ("lab/netns", "elsewhere/x"),
    ] {
        let mut planted = arrows.clone();
        planted.push(arrow(from, to));
        assert_eq!(arrows::turned_back(&planted), [format!("{from} -> {to}")]);
    }
    let kept = [
        arrow("app/selvedge", "lab/netns"),
        arrow("host/agent", "core/dns"),
    ];
    assert_eq!(arrows::turned_back(&kept), [""; 0]);
}

#[test]
fn core_links_no_kernel_no_runtime_and_no_store() {
    let (links, core) = (links(), core_crates());
    check(&arrows::impure(&links, &core));

    assert!(core.len() >= 8, "the crates of core/ are seen: {core:?}");
    // The control: the same function over the same data finds them where they are allowed.
    let in_host = arrows::impure(&links, &["store".to_owned()]);
    assert!(
        in_host
            .iter()
            .any(|w| w.starts_with("store -> ") && w.ends_with("rusqlite")),
        "{in_host:?}"
    );
    let mut planted = links;
    planted
        .get_mut("ipnet")
        .expect("core uses ipnet")
        .insert("tokio".into());
    let found = arrows::impure(&planted, &["dns".to_owned()]);
    assert_eq!(
        found.first().map(String::as_str),
        Some("dns -> ipnet -> tokio")
    );
}

#[test]
fn core_asks_nobody_for_time_chance_files_or_sockets() {
    let sources = all_sources();
    check(&sources::impure_lines(&sources, &IMPURE));

    let planted = |path: &str, text: &str| {
        let source = Source {
            path: path.into(),
            text: text.into(),
        };
        sources::impure_lines(&[source], &IMPURE)
    };
    let now = "fn f() {\n    let t = std::time::Instant::now();\n}\n";
    assert_eq!(
        planted("core/dns/src/x.rs", now),
        ["core/dns/src/x.rs:2: Instant::now"]
    );
    let lock = "use std::sync::Mutex;\n";
    assert_eq!(planted("core/resource/src/key.rs", lock).len(), 1);
    assert_eq!(planted("core/resource/src/memory.rs", lock).len(), 0);
    assert_eq!(planted("core/resource/src/memory.rs", now).len(), 1);
    assert_eq!(planted("host/agent/src/x.rs", now), [""; 0]);
    assert_eq!(planted("core/dns/tests/x.rs", now), [""; 0]);
    assert_eq!(
        planted("core/dns/src/x.rs", "// std::fs is not read here\n"),
        [""; 0]
    );
    let tested = format!("fn g() {{}}\n#[cfg(test)]\nmod tests {{\n{now}}}\n");
    assert_eq!(planted("core/dns/src/x.rs", &tested), [""; 0]);
}

/// The sources but for this crate's own, which hold in quotes what they look for.
fn other_sources() -> Vec<Source> {
    let mut sources = all_sources();
    sources.retain(|s| !s.path.starts_with("lab/guards/"));
    sources
}

fn source(path: &str, text: &str) -> [Source; 1] {
    [Source {
        path: path.into(),
        text: text.into(),
    }]
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    check(&sources::unwraps(&other_sources()));

    let line = "let x = y.unwrap();\n";
    let found = sources::unwraps(&source("host/agent/src/x.rs", line));
    assert_eq!(found, ["host/agent/src/x.rs:1: .unwrap()"]);
    let tested = format!("#[cfg(test)]\nmod tests {{\n{line}}}\n");
    assert_eq!(
        sources::unwraps(&source("host/agent/src/x.rs", &tested)),
        [""; 0]
    );
    assert_eq!(
        sources::unwraps(&source("host/agent/tests/x.rs", line)),
        [""; 0]
    );
}

#[test]
fn unsafe_code_is_in_host_linux_alone() {
    check(&sources::unsafe_outside_linux(&other_sources()));
    let manifests = METADATA.workspace_packages();
    let without_lints: Vec<String> = (manifests.iter())
        .map(|p| folder(p.manifest_path.as_std_path()) + "/Cargo.toml")
        .filter(|path| !read(path).contains("[lints]\nworkspace = true"))
        .collect();
    check(&without_lints);

    let line = "#[expect(unsafe_code, reason = \"fast\")]\n";
    for (path, count) in [
        ("core/bgp/src/x.rs", 1),
        ("core/bgp/tests/x.rs", 1),
        ("host/linux/src/x.rs", 0),
    ] {
        assert_eq!(
            sources::unsafe_outside_linux(&source(path, line)).len(),
            count,
            "{path}"
        );
    }
}

#[test]
fn no_test_sleeps() {
    check(&sources::sleeping_tests(&other_sources(), &SLEEPING));

    let line = "std::thread::sleep(SECOND);\n";
    let found = |path: &str, listed: &[(&str, &str)]| {
        sources::sleeping_tests(&source(path, line), listed).len()
    };
    assert_eq!(found("host/agent/tests/x.rs", &[]), 1);
    assert_eq!(found("host/agent/src/x.rs", &[]), 0);
    assert_eq!(
        found(
            "host/agent/tests/x.rs",
            &[("host/agent/tests/x.rs", "looks again")]
        ),
        0
    );
    assert_eq!(
        found("host/agent/tests/x.rs", &[("host/agent/tests/x.rs", "")]),
        1
    );
}

#[test]
fn a_file_has_one_subject() {
    check(&sources::too_long(&all_sources(), &LONG_FILES));

    let long = Source {
        path: "core/x/src/lib.rs".into(),
        text: "line\n".repeat(601),
    };
    let mut tested = long.clone();
    tested.text = "line\n".repeat(600) + "#[cfg(test)]\nmod tests {\n" + &"line\n".repeat(600);
    let mut in_tests = long.clone();
    in_tests.path = "core/x/tests/all.rs".into();
    let found = |source: &Source, listed: &[(&str, &str)]| {
        sources::too_long(std::slice::from_ref(source), listed)
    };
    assert_eq!(found(&long, &[]).len(), 1);
    assert_eq!(found(&tested, &[]).len(), 0);
    assert_eq!(found(&in_tests, &[]).len(), 0);
    assert_eq!(found(&long, &[("core/x/src/lib.rs", "a table")]).len(), 0);
    assert_eq!(found(&long, &[("core/x/src/lib.rs", "")]).len(), 1);
    assert_eq!(found(&tested, &[("core/x/src/lib.rs", "stale")]).len(), 1);
    assert_eq!(found(&tested, &[("core/x/src/gone.rs", "stale")]).len(), 1);
}

#[test]
fn each_crate_opens_with_a_front_page() {
    let sources = all_sources();
    check(&sources::without_front_page(&sources));

    let roots = METADATA.workspace_packages().len();
    let mut spoilt = sources;
    for source in &mut spoilt {
        source.text = source.text.replace("//! ", "// ");
    }
    assert!(
        sources::without_front_page(&spoilt).len() >= roots,
        "every crate's root file is seen"
    );
}

#[test]
fn the_architecture_names_paths_that_exist() {
    let paths = documents::paths_to_change(&read("ARCHITECTURE.md"));
    assert!(paths.len() >= 10, "the table is seen: {paths:?}");
    check(&documents::absent("ARCHITECTURE.md", &paths, |p| {
        ROOT.join(p).exists()
    }));

    let planted = "## Where to change X\n\n| to change | go to |\n|---|---|\n| names | `core/dns/src`, `core/nowhere` |\n\n## Next\n\n| a | `not/here` |\n";
    let planted = documents::paths_to_change(planted);
    assert_eq!(planted, ["core/dns/src", "core/nowhere"]);
    let found = documents::absent("ARCHITECTURE.md", &planted, |p| ROOT.join(p).exists());
    assert_eq!(
        found,
        ["ARCHITECTURE.md names core/nowhere, which does not exist"]
    );
}

#[test]
fn the_table_of_standards_names_files_that_exist() {
    let paths = documents::paths_in_tables(&read("docs/rfc.md"));
    assert!(paths.len() >= 40, "the tables are seen: {paths:?}");
    check(&documents::absent("docs/rfc.md", &paths, |p| {
        ROOT.join(p).exists()
    }));

    let planted = "in `core/a/src/b.rs` no table\n| RFC 1 | `a/b` | `core/dns/src/zone.rs` | `core/dns/tests/gone.rs` |\n";
    let planted = documents::paths_in_tables(planted);
    assert_eq!(planted, ["core/dns/src/zone.rs", "core/dns/tests/gone.rs"]);
    assert_eq!(
        documents::absent("d", &planted, |p| ROOT.join(p).exists()).len(),
        1
    );
}

#[test]
fn the_readme_is_a_first_page() {
    check(
        &documents::too_long(&read("README.md"))
            .into_iter()
            .collect::<Vec<_>>(),
    );
    assert_eq!(documents::too_long(&"line\n".repeat(150)), None);
    assert!(documents::too_long(&"line\n".repeat(151)).is_some());
}
