//! `node checksystem` and `node diags`, on file trees made for them and on this machine.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

use ctl::{OpenError, Persona, World, run_with};
use resource::MemoryStore;

fn run(root: &Path, words: &[&str]) -> (String, String, i32) {
    let argv: Vec<String> = words.iter().map(|word| (*word).to_string()).collect();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let now = jiff::Timestamp::from_second(1_795_000_000).unwrap();
    let random = |buffer: &mut [u8]| File::open("/dev/urandom")?.read_exact(buffer);
    let mut world = World {
        persona: Persona::Calicoctl,
        stdin: &mut std::io::empty(),
        stdout: &mut stdout,
        stderr: &mut stderr,
        now,
        random: &random,
        pause: &|_| (),
        root: root.to_path_buf(),
        environment: &|_| None,
        etcd: &Cell::new(false),
    };
    let no_store = |_: Option<&Path>, _: Option<&str>| -> Result<MemoryStore, OpenError> {
        panic!("these commands need no datastore")
    };
    let code = run_with(&argv, &mut world, no_store);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr), code)
}

const REFUSED: &str =
    "system doesn't meet one or more minimum systems requirements to run Calico\n";

fn put(root: &Path, path: &str, text: &str) {
    let file = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

/// Captured from calicoctl 3.32.1 on a machine without lsmod.
#[test]
fn without_lsmod_it_says_so() {
    let root = tempfile::tempdir().unwrap();
    put(
        root.path(),
        "/proc/sys/kernel/osrelease",
        "6.18.44-fc-v595\n",
    );
    let expected = "Checking kernel version...\n\t\t6.18.44-fc-v595     \t\t\t\t\tOK\nChecking kernel modules...\n\
                    Error executing command: exec: \"lsmod\": executable file not found in $PATH\n";
    assert_eq!(
        run(root.path(), &["node", "checksystem"]),
        (expected.to_string(), REFUSED.to_string(), 1)
    );
}

/// A root in which each module is found in another of the places that may tell.
fn complete() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let files = [
        ("/usr/sbin/lsmod", ""),
        ("/proc/sys/kernel/osrelease", "5.10.0-9\n"),
        (
            "/proc/modules",
            "ip_set 57344 1 xt_set, Live 0x0\nvfio_pci 1 0 - Live 0x0\n",
        ),
        (
            "/lib/modules/5.10.0-9/modules.dep",
            "kernel/net/ipv4/netfilter/ip_tables.ko.xz: kernel/x.ko.xz\nkernel/net/netfilter/xt_set.ko: a.ko\n",
        ),
        (
            "/lib/modules/5.10.0-9/modules.builtin",
            "kernel/net/ipv6/netfilter/ip6_tables.ko\n",
        ),
        ("/proc/net/ip_tables_matches", "icmp\n"),
        ("/proc/net/ip6_tables_matches", "icmp6\n"),
        (
            "/boot/config-5.10.0-9",
            "CONFIG_IP_SET=m\nCONFIG_IP_NF_TARGET_REJECT=y\nCONFIG_NETFILTER_XT_MATCH_IPVS=m\nCONFIG_IP_NF_MATCH_RPFILTER=m\n\
             CONFIG_NF_CT_NETLINK=m\nCONFIG_NETFILTER_XT_MATCH_ADDRTYPE=m\nCONFIG_NETFILTER_XT_MATCH_BPF=m\n\
             CONFIG_NETFILTER_XT_MATCH_CONNTRACK=m\nCONFIG_NETFILTER_XT_MARK=m\nCONFIG_NETFILTER_XT_MATCH_MULTIPORT=m\n\
             CONFIG_NETFILTER_XT_MATCH_U32=m\n# CONFIG_NETFILTER_XT_SET is not set\n",
        ),
    ];
    for (path, text) in files {
        put(root.path(), path, text);
    }
    root
}

#[test]
fn each_place_that_knows_a_module_is_asked() {
    let root = complete();
    let (stdout, stderr, code) = run(root.path(), &["node", "checksystem"]);
    assert_eq!((stderr.as_str(), code), ("", 0), "{stdout}");
    assert_eq!(stdout.matches("OK\n").count(), 20, "{stdout}");
    assert!(
        stdout.ends_with("System meets minimum system requirements to run Calico!\n"),
        "{stdout}"
    );
}

#[test]
fn what_is_missing_is_named() {
    for (path, text, fails) in [
        ("/proc/modules", "", &["vfio-pci"][..]),
        (
            "/lib/modules/5.10.0-9/modules.dep",
            "",
            &["ip_tables", "xt_set"],
        ),
        ("/lib/modules/5.10.0-9/modules.builtin", "", &["ip6_tables"]),
        ("/proc/net/ip_tables_matches", "", &["xt_icmp"]),
        ("/proc/sys/kernel/osrelease", "5.9.16\n", &["5.9.16"]),
    ] {
        let root = complete();
        put(root.path(), path, text);
        let (stdout, stderr, code) = run(root.path(), &["node", "checksystem"]);
        assert_eq!((stderr.as_str(), code), (REFUSED, 1), "{path}: {stdout}");
        for what in fails {
            assert!(
                stdout.contains(&format!("\t\t{what:<20}\t\t\t\t\tFAIL\n")),
                "{what}: {stdout}"
            );
        }
    }
    let root = complete();
    put(root.path(), "empty", "");
    let config = root.path().join("empty");
    let words = ["node", "checksystem", "-f", config.to_str().unwrap()];
    let (stdout, _, code) = run(root.path(), &words);
    assert_eq!(code, 1);
    assert!(
        stdout.contains(
            "WARNING: Unable to detect the xt_u32 module as Loaded/Builtin module or lsmod\n\t\txt_u32              \t\t\t\t\tFAIL\n"
        ),
        "{stdout}"
    );
}

#[test]
fn diags_are_an_archive_of_what_this_machine_says() {
    let logs = tempfile::tempdir().unwrap();
    put(logs.path(), "cni/cni.log", "a line of the plugin\n");
    let words = ["node", "diags", "--log-dir", logs.path().to_str().unwrap()];
    let (stdout, stderr, code) = run(Path::new("/"), &words);
    assert_eq!((stderr.as_str(), code), ("", 0), "{stdout}");
    assert!(
        stdout.starts_with("Collecting diagnostics\nUsing temp dir: "),
        "{stdout}"
    );
    let archive = stdout
        .lines()
        .find_map(|line| line.strip_prefix("Diags saved to "))
        .expect("it says where");
    let place = Path::new(archive).parent().unwrap();
    assert!(
        archive.ends_with("/diags-20261118_110640.tar.gz"),
        "{archive}"
    );
    let unpacked = tempfile::tempdir().unwrap();
    let status = Command::new("tar")
        .args(["-xzf", archive, "-C", unpacked.path().to_str().unwrap()])
        .status()
        .unwrap();
    assert!(status.success());
    let read = |name: &str| {
        fs::read_to_string(unpacked.path().join("diagnostics").join(name)).unwrap_or_default()
    };
    assert!(read("ipv4_addr").contains("127.0.0.1"));
    assert!(read("ipv4_route").contains("local 127.0.0.1"));
    assert_eq!(read("logs/cni/cni.log"), "a line of the plugin\n");
    assert!(!read("node_status").is_empty());
    assert!(
        !place.join("diagnostics").exists(),
        "only the archive stays"
    );
    fs::remove_dir_all(place).unwrap();
}

/// Without programs each dump is refused by name, and the archive too: what was collected stays.
#[test]
fn diags_say_what_cannot_be_had() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "/proc/sys/kernel/hostname", "node-9\n");
    let words = ["--allow-version-mismatch", "node", "diags"];
    let (stdout, stderr, code) = run(root.path(), &words);
    assert_eq!(code, 1);
    assert!(
        stdout.contains("Dumping ipsets\nFailed to run command: ipset list\nError: \n"),
        "{stdout}"
    );
    let folder = stderr
        .trim_end()
        .rsplit_once("what was collected is in ")
        .expect("it says where")
        .1;
    let hostname = fs::read_to_string(Path::new(folder).join("proc_sys_kernel_hostname"));
    assert_eq!(hostname.unwrap(), "node-9\n");
    fs::remove_dir_all(Path::new(folder).parent().unwrap()).unwrap();
}
