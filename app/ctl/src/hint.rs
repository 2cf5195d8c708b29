//! What to do about an error, for `selvedge`.

/// A hint for a message, where there is something to say that the message does not.
pub fn hint(message: &str) -> Option<String> {
    HINTS
        .iter()
        .find(|(part, _)| message.contains(part))
        .map(|(_, hint)| (*hint).to_string())
}

/// The first that is found in the message counts.
const HINTS: &[(&str, &str)] = &[
    (
        "unknown command:",
        "commands for resources are get, apply, create, replace, patch, delete, label and validate; others are node status, ipam show and version",
    ),
    ("valid utf-8", "resource files are YAML or JSON in UTF-8"),
    (
        "Cannot delete a non-empty tier",
        "delete its policies first, or give them another tier; `selvedge get gnp` and `selvedge get np -A` show whose they are",
    ),
    (
        "resource does not exist: Tier(",
        "make the tier first: `selvedge get tiers` shows those that there are",
    ),
    (
        "kubernetes network policies must be managed",
        "names that begin with knp.default. are Kubernetes' own policies: change them with kubectl",
    ),
    (
        "must set protocol to TCP or UDP or SCTP",
        "write `protocol: TCP` (in capitals) into the rule beside its ports",
    ),
    (
        "protocol name invalid",
        "protocols are TCP, UDP, ICMP, ICMPv6, SCTP and UDPLite, written so, or a number from 1 to 255",
    ),
    (
        "unable to determine Pod name",
        "nodes are Kubernetes' own here: `kubectl delete node NAME` deletes one; nothing was changed",
    ),
    (
        "operation Create is not supported on Node(",
        "nodes are Kubernetes' own here, and there when their kubelet has registered them; `apply` writes Calico's part of one",
    ),
    (
        "operation Create is not supported on WorkloadEndpoint(",
        "endpoints are read from pods here, and there when the pod is",
    ),
    (
        "is not supported on Profile(",
        "profiles are read from namespaces and service accounts here: change their labels with kubectl",
    ),
    (
        "is not supported on ClusterInformation",
        "the nodes write it; `selvedge get clusterinformation -o yaml` shows it",
    ),
    (
        "resource type '",
        "`selvedge get --help` lists the kinds; caliconodestatus, blockaffinity, ipamconfiguration, endpointslice and service are here too",
    ),
    (
        "unknown resource type ()",
        "a document is empty, or has no kind and apiVersion; look for a stray `---`",
    ),
    (
        "unknown resource type (",
        "Calico's kinds have apiVersion projectcalico.org/v3, and `selvedge get --help` lists them; Service has v1, EndpointSlice discovery.k8s.io/v1",
    ),
    (
        "field in document is not recognized",
        "check its spelling and its indentation; `selvedge get KIND NAME -o yaml` shows where fields stand",
    ),
    (
        "already set in map",
        "the same key is given twice; lines are counted within the document",
    ),
    (
        "converting YAML to JSON",
        "the YAML itself is broken at or before this line, which is counted within the document",
    ),
    (
        "resource already exists",
        "`selvedge apply` replaces what is there; `create --skip-exists` leaves it as it is",
    ),
    (
        "update conflict",
        "it was changed since this version was read: get it again, or leave out metadata.resourceVersion",
    ),
    (
        "datastore is not locked",
        "`selvedge datastore migrate lock` locks it; what nodes have in force stays as it is",
    ),
    (
        "does not exist",
        "`selvedge get KIND` lists what is there; names are case-sensitive",
    ),
    (
        "not strictly masked",
        "write the network's own address, with all bits after the prefix zero",
    ),
    (
        "CIDR overlaps with IPPool",
        "an address belongs to one pool only; `selvedge get ippool -o wide` shows the pools",
    ),
    (
        "cannot be modified",
        "it is fixed when the pool is made: make another pool, move the workloads there, delete this one",
    ),
    (
        "Cannot enable both VXLAN and IPIP",
        "leave one of ipipMode and vxlanMode at Never",
    ),
    (
        "of Tag: selector",
        "a selector is like has(role) && role == 'db', with values in quotes",
    ),
    (
        "Tag: IP:port",
        "an address, alone or with a port: 192.0.2.1, 192.0.2.1:179, [2001:db8::1]:179",
    ),
    (
        "name must consist of",
        "lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
    ),
    (
        "on a non default BGP Configuration",
        "only the BGPConfiguration named `default` may set it",
    ),
    (
        "Calico process is not running",
        "start the node's agent on this host: `selvedge node run`",
    ),
    (
        "is not namespaced",
        "leave out -n and -A: this kind has no namespaces",
    ),
    (
        "invalid label",
        "a label is KEY=VALUE, or KEY with --remove",
    ),
    (
        "invalid JSON document",
        "a patch is one JSON object in quotes: '{\"spec\": {\"natOutgoing\": true}}'",
    ),
    (
        "no resources specified",
        "nothing was read; --skip-empty makes that no error",
    ),
    (
        "Error reading config file",
        "name a file that is there with -c, or leave it out to use the environment",
    ),
    (
        "cannot unmarshal",
        "the value has another type than the field; text that looks like something else needs quotes",
    ),
    (
        "version mismatch",
        "the cluster's nodes run another version; --allow-version-mismatch goes on all the same",
    ),
    (
        "minimum systems requirements",
        "above stands what: `modprobe NAME` loads a module that is marked FAIL, kmod has lsmod, --kernel-config=FILE names the kernel's configuration; a kernel before 5.10 is too old",
    ),
    (
        "unrecognized output format",
        "formats are ps, wide, yaml, json, custom-columns=A,B, go-template=TEXT, go-template-file=FILE",
    ),
];
