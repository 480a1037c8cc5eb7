//! Query parameters that violate a rule.

/// Invalid queries.
pub fn bad() -> Vec<String> {
    let mut queries = Vec::new();
    for name in ["resourceType", "resourceId", "action", "userId"] {
        let long = "x".repeat(257);
        let many = vec![format!("{name}=rule"); 101].join("&");
        queries.extend(["", "%ff", "%00", "%0a", &long].map(|value| format!("{name}={value}")));
        queries.extend([many, name.to_owned()]);
    }
    for name in ["startDate", "endDate"] {
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
    for odd in [
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
    ] {
        queries.push(odd.to_owned());
    }
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
