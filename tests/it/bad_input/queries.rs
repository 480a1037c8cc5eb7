//! Query parameters that violate a rule.

/// Parameters and values that do not exist, and parameters that exclude each other.
const ODD: [&str; 23] = [
    "cursor=x&offset=0",
    "resourcetype=rule",
    "resource_type=rule",
    "resourceType[]=rule",
    "user=u",
    "userid=u",
    "from=2025-01-01",
    "startdate=2025-01-01",
    "page=2",
    "=x",
    "%ff=x",
    "resourceType=Rule",
    "resourceType=vectorstore",
    "action=create",
    "action=DELETE",
    "outcome=sucess",
    "actorType=users",
    "metadata=x",
    "metadata.=x",
    "metadata[source]=x",
    "changes=x",
    "change.field=x",
    "trace=x",
];

/// Invalid queries.
pub fn bad() -> Vec<String> {
    let mut queries = Vec::new();
    for name in ["resourceType", "resourceId", "action", "userId", "outcome", "actorType", "traceId"] {
        let long = "x".repeat(257);
        let many = vec![format!("{name}=rule"); 101].join("&");
        queries.extend(["", "%ff", "%00", "%0a", &long].map(|value| format!("{name}={value}")));
        queries.extend([many, name.to_owned()]);
    }
    for name in ["startDate", "endDate", "recordedAfter", "recordedBefore"] {
        let dates = [
            "",
            "today",
            "2025",
            "2025-02-30",
            "2025-01-31T25:00:00Z",
            "2025-01-31T23:59",
            "1738368000",
            "0000-01-01",
            "10000-01-01",
            "2025-01-31%20",
            "%ff",
            "2025-01-31T23:59:59ZZ",
            "9999-12-31T23:59:59-01:00",
        ];
        queries.extend(dates.map(|date| format!("{name}={date}")));
        queries.push(format!("{name}=2025-01-01&{name}=2025-01-01"));
    }
    queries.push("startDate=2025-02-01&endDate=2025-01-31".to_owned());
    queries.push("recordedAfter=2025-02-01&recordedBefore=2025-01-31".to_owned());
    for (name, values) in [
        ("limit", &["", "0", "101", "-1", "1.5", "ten", "%2B5", "1e2", " 5", "2147483648", "99999999999999999999"][..]),
        ("offset", &["", "-1", "1.5", "x", "%2B5", "9223372036854775808"]),
        (
            "cursor",
            &["", "x", "AQ", "%ff", "AQAAAAAAAAABAAAAAAAAAAEAAAAAAAAAAQAAAAAAAAABAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAA"],
        ),
    ] {
        queries.extend(values.iter().map(|value| format!("{name}={value}")));
        queries.push(format!("{name}=1&{name}=1"));
    }
    queries.extend(pairs());
    queries.extend(searches());
    queries.extend(ODD.map(str::to_owned));
    queries
}

/// Too many pairs of a user and a resource.
fn pairs() -> [String; 2] {
    let ids = |name: &str, count: usize| (0..count).map(|id| format!("{name}=x{id}")).collect::<Vec<_>>().join("&");
    [
        format!("{}&{}&limit=1&offset=40000", ids("userId", 100), ids("resourceId", 100)),
        format!("{}&{}&resourceType=rule", ids("userId", 77), ids("resourceId", 13)),
    ]
}

/// Parameters of a search with one byte, key or level more than their limits, or with a misplaced star.
fn searches() -> Vec<String> {
    let nested = nested(33);
    let keys = (0..51).map(|key| format!("metadata.k{key}=x")).collect::<Vec<_>>().join("&");
    let mut queries = vec![keys, format!("metadata.{}=x", "k".repeat(65)), "metadata.k%00=x".to_owned()];
    for (name, more) in [
        ("changes.field", 1_025),
        ("changes.oldValue", 16 * 1_024 + 1),
        ("changes.newValue", 16 * 1_024 + 1),
        ("metadata.source", 1_025),
        ("userName", 513),
        ("userEmail", 513),
        ("resourceName", 513),
        ("text", 257),
    ] {
        // Digits, because a text that is not JSON gets quotes.
        queries.push(format!("{name}={}", "1".repeat(more)));
        queries.extend(["", "%ff"].map(|value| format!("{name}={value}")));
        queries.extend([format!("{name}=x&{name}=x"), name.to_owned()]);
    }
    for name in ["changes.field", "metadata.source", "userName", "userEmail", "resourceName"] {
        queries.push(format!("{name}=a%00"));
    }
    for name in ["userName", "userEmail", "resourceName"] {
        queries.push(format!("{name}=*"));
    }
    queries.extend(["*", "tools*", "tools.**", "*.a", "a.*.b"].map(|field| format!("changes.field={field}")));
    queries.extend(["changes.oldValue", "changes.newValue"].map(|name| format!("{name}={nested}")));
    queries
}

/// Parameters of a search exactly at their limits.
pub fn searches_at_their_limits() -> Vec<String> {
    let keys = (0..49).map(|key| format!("metadata.k{key}=x")).collect::<Vec<_>>().join("&");
    let mut queries = vec![
        format!("metadata.{}={}&{keys}", "k".repeat(64), "v".repeat(1_024)),
        format!("changes.field={}", "f".repeat(1_024)),
        format!("changes.oldValue={}&changes.newValue={}", nested(32), "1".repeat(16 * 1_024)),
        format!("text={}", "t".repeat(256)),
        "recordedAfter=0001-01-01&recordedBefore=9999-12-31".to_owned(),
        "recordedAfter=2025-01-31&recordedBefore=2025-01-31".to_owned(),
    ];
    for name in ["userName", "userEmail", "resourceName"] {
        queries.extend([format!("{name}={}", "n".repeat(512)), format!("{name}={}*", "n".repeat(511))]);
    }
    for (name, value) in [("outcome", "denied"), ("actorType", "user"), ("traceId", "t")] {
        queries.push(vec![format!("{name}={value}"); 100].join("&"));
    }
    queries.push(format!("traceId={}", "t".repeat(256)));
    queries
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}
