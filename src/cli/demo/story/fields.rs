//! The resources of the invented company, and the values that people choose from for their fields.

use std::borrow::Cow;

use super::events::{StoryEdit, StoryResource, set};
use super::texts::instructions;

const fn resource(resource_type: &'static str, id: &'static str, name: &'static str) -> StoryResource {
    StoryResource::new(resource_type, id, name)
}

/// The assistants that the incident changes.
pub(super) static ASSISTANTS: [StoryResource; 14] = [
    resource("assistant", "asst_booking", "Booking Assistant"),
    resource("assistant", "asst_refund_desk", "Refund Desk"),
    resource("assistant", "asst_visa_helper", "Visa Helper"),
    resource("assistant", "asst_loyalty_guide", "Loyalty Guide"),
    resource("assistant", "asst_baggage_tracker", "Baggage Tracker"),
    resource("assistant", "asst_hotel_desk", "Hotel Desk"),
    resource("assistant", "asst_rail_planner", "Rail Planner"),
    resource("assistant", "asst_group_travel", "Group Travel Desk"),
    resource("assistant", "asst_invoice_explainer", "Invoice Explainer"),
    resource("assistant", "asst_partner_support", "Partner Support"),
    resource("assistant", "asst_onboarding_coach", "Onboarding Coach"),
    resource("assistant", "asst_review_summarizer", "Review Summarizer"),
    resource("assistant", "asst_fraud_screener", "Fraud Screener"),
    resource("assistant", "asst_translation_desk", "Translation Desk"),
];
/// An assistant that the incident cannot change.
pub(super) static NIGHT_DESK: StoryResource = resource("assistant", "asst_night_desk", "Night Desk");

pub(super) static VECTOR_STORES: [StoryResource; 5] = [
    resource("vector_store", "vs_fare_rules", "Fare Rules"),
    resource("vector_store", "vs_hotel_contracts", "Hotel Contracts"),
    resource("vector_store", "vs_visa_requirements", "Visa Requirements"),
    resource("vector_store", "vs_help_center", "Help Center Articles"),
    resource("vector_store", "vs_city_guides", "City Guides"),
];
/// The vector store that the incident deletes.
pub(super) static PRICE_LISTS: StoryResource = resource("vector_store", "vs_partner_prices", "Partner Price Lists");

pub(super) static RULES: [StoryResource; 6] = [
    resource("rule", "rule_refund_approval", "Refunds above 500 € need approval"),
    resource("rule", "rule_mask_cards", "Mask card numbers"),
    resource("rule", "rule_no_medical_advice", "No medical advice"),
    resource("rule", "rule_escalate_complaints", "Escalate complaints"),
    resource("rule", "rule_minors", "Minors travel with a consent"),
    resource("rule", "rule_price_promise", "Prices hold for ten minutes"),
];

pub(super) static MCP_CONFIGURATIONS: [StoryResource; 4] = [
    resource("mcp_configuration", "mcp_booking_system", "Booking System"),
    resource("mcp_configuration", "mcp_payment_ledger", "Payment Ledger"),
    resource("mcp_configuration", "mcp_weather", "Weather and Delays"),
    resource("mcp_configuration", "mcp_customer_records", "Customer Records"),
];

pub(super) static COMPANY: StoryResource = resource("organization", "org_demo", "Larkfield Travel");

/// The functions that an assistant can call. The second and the third value change objects within the array.
const FUNCTIONS: [&str; 3] = [
    concat!(
        r#"[{"name":"find_booking","description":"Finds a booking.","parameters":{"reference":"string"}},"#,
        r#"{"name":"quote_price","parameters":{"from":"string","to":"string","day":"date"},"timeoutSeconds":8}]"#
    ),
    concat!(
        r#"[{"name":"find_booking","description":"Finds a booking.","#,
        r#""parameters":{"reference":"string","lastName":"string"}},"#,
        r#"{"name":"quote_price","parameters":{"from":"string","to":"string","day":"date"},"timeoutSeconds":12}]"#
    ),
    concat!(
        r#"[{"name":"find_booking","description":"Finds a booking by reference or e-mail address.","#,
        r#""parameters":{"reference":"string","email":"string"}},"#,
        r#"{"name":"hold_seat","parameters":{"reference":"string","minutes":15},"requiresApproval":true},"#,
        r#"{"name":"quote_price","parameters":{"from":"string","to":"string","day":"date"},"timeoutSeconds":12}]"#
    ),
];

/// A type, a field, and the JSON texts that people choose from.
type FieldChoices = (&'static str, &'static str, &'static [&'static str]);

/// The fields that people change.
const CHOICES: &[FieldChoices] = &[
    ("assistant", "temperature", &["0.2", "0.35", "0.5", "0.70", "0.9", "1.0"]),
    ("assistant", "model", &[r#""lark-4""#, r#""lark-4-mini""#, r#""lark-5-preview""#]),
    ("assistant", "maxOutputTokens", &["1024", "2048", "4096"]),
    ("assistant", "tools.webSearch", &["true", "false"]),
    ("assistant", "tools.functions", &FUNCTIONS),
    (
        "assistant",
        "metadata.labels",
        &[
            r#"["production","travel"]"#,
            r#"["production","travel","tier-1"]"#,
            r#"["production","experiment","travel"]"#,
        ],
    ),
    // JavaScript reads both as the same number.
    ("assistant", "metadata.bookingSystemId", &["9007199254740993", "9007199254740992"]),
    (
        "assistant",
        "permissions.editors",
        &[
            r#"["uid_lena_brandt","uid_noah_fischer"]"#,
            r#"["uid_lena_brandt","uid_noah_fischer","uid_chloe_martin"]"#,
            r#"["uid_amara_okafor","uid_noah_fischer"]"#,
        ],
    ),
    (
        "assistant",
        "permissions.viewers",
        &[r#"["team:support"]"#, r#"["team:support","team:sales"]"#, r#"["team:support","team:legal"]"#],
    ),
    (
        "vector_store",
        "source",
        &[
            r#""https://content.example.com/larkfield/export?format=markdown""#,
            r#""https://content.example.com/larkfield/export?format=markdown&languages=en,de,fr""#,
            r#""https://archive.example.com/larkfield/latest.tar.gz""#,
        ],
    ),
    (
        "vector_store",
        "chunking",
        &[
            r#"{"size":800,"overlap":120,"by":"paragraph"}"#,
            r#"{"size":1200,"overlap":120,"by":"paragraph"}"#,
            r#"{"size":1200,"overlap":200,"by":"heading","keepTables":true}"#,
        ],
    ),
    ("vector_store", "embeddingModel", &[r#""lark-embed-2""#, r#""lark-embed-3""#]),
    ("vector_store", "expiresAfterDays", &["30", "90", "365"]),
    ("vector_store", "metadata.labels", &[r#"["public"]"#, r#"["public","reviewed"]"#, r#"["internal"]"#]),
    ("vector_store", "permissions.viewers", &[r#"["team:content"]"#, r#"["team:content","team:support"]"#]),
    ("rule", "status", &[r#""active""#, r#""draft""#, r#""paused""#]),
    ("rule", "priority", &["10", "20", "50", "100"]),
    (
        "rule",
        "condition",
        &[
            r#""amount > 500 and currency = 'EUR'""#,
            r#""amount > 300 and currency = 'EUR'""#,
            r#""amount > 300 and currency in ('EUR', 'CHF', 'GBP')""#,
        ],
    ),
    (
        "rule",
        "actions",
        &[
            r#"[{"type":"ask","team":"finance"}]"#,
            r#"[{"type":"ask","team":"finance","withinMinutes":30}]"#,
            r#"[{"type":"ask","team":"finance","withinMinutes":30},{"type":"notify","channel":"refunds"}]"#,
        ],
    ),
    (
        "rule",
        "message",
        &[
            r#""A colleague looks at this. You hear from us within one working day.""#,
            r#""A colleague looks at this now. You hear from us within two hours.""#,
            r#""A colleague looks at this. You hear from us within two hours, also on weekends.""#,
        ],
    ),
    ("rule", "permissions.viewers", &[r#"["team:support"]"#, r#"["team:support","team:finance"]"#]),
    (
        "mcp_configuration",
        "server.url",
        &[
            r#""https://mcp.example.com/larkfield/v1""#,
            r#""https://mcp.example.com/larkfield/v2""#,
            r#""https://mcp-eu.example.com/larkfield/v2""#,
        ],
    ),
    ("mcp_configuration", "server.timeoutSeconds", &["5", "10", "30"]),
    (
        "mcp_configuration",
        "server.headers",
        &[
            r#"{"x-client":"larkfield","x-api-version":"2024-10"}"#,
            r#"{"x-client":"larkfield","x-api-version":"2025-01"}"#,
            r#"{"x-client":"larkfield","x-api-version":"2025-01","x-region":"eu"}"#,
        ],
    ),
    (
        "mcp_configuration",
        "tools.allowed",
        &[r#"["read"]"#, r#"["read","search"]"#, r#"["read","search","hold"]"#, r#"["read","hold","cancel"]"#],
    ),
    ("mcp_configuration", "permissions.viewers", &[r#"["team:platform"]"#, r#"["team:platform","team:support"]"#]),
    ("user", "role", &[r#""member""#, r#""editor""#, r#""administrator""#]),
    ("user", "locale", &[r#""en-GB""#, r#""de-DE""#, r#""fr-CA""#]),
    ("user", "mfa.methods", &[r#"["totp"]"#, r#"["totp","security_key"]"#, r#"["security_key"]"#]),
    (
        "user",
        "notifications",
        &[r#"{"email":true,"push":false}"#, r#"{"email":false,"push":true,"quietFrom":"20:00"}"#],
    ),
    ("organization", "settings.sessionMinutes", &["30", "60", "480"]),
    ("organization", "settings.retentionNotice", &[r#""30 days""#, r#""90 days""#]),
    (
        "organization",
        "settings.allowedNetworks",
        &[
            r#"["203.0.113.0/24"]"#,
            r#"["203.0.113.0/24","198.51.100.0/24"]"#,
            r#"["203.0.113.0/24","198.51.100.0/24","192.0.2.0/25"]"#,
        ],
    ),
    ("organization", "billing.seats", &["12", "13", "14", "20"]),
];

/// The fields of a type that people change, with the values that they choose from.
pub(super) fn choices(resource_type: &str) -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    let of_type = CHOICES.iter().filter(move |(known, ..)| *known == resource_type);
    of_type.map(|(_, field, values)| (*field, *values))
}

/// The edits that make a resource with all fields of its type. `number` chooses the values.
pub(super) fn all_fields(resource: &StoryResource, number: usize) -> Vec<StoryEdit> {
    let chosen = |(place, (field, values)): (usize, (&'static str, &'static [&'static str]))| {
        set(field, values[(number + place) % values.len()])
    };
    let mut edits: Vec<_> = choices(resource.resource_type).enumerate().map(chosen).collect();
    match resource.resource_type {
        "assistant" => edits.push(set("instructions", instructions(&resource.name, number))),
        "vector_store" => {
            // The night synchronization adds to them.
            edits.push(set("files.count", (120 + 37 * number).to_string()));
            edits.push(set("files.bytes", (9_007_199_254 + 31_415_926 * number).to_string()));
        }
        _ => {}
    }
    edits
}

/// The person as a resource.
pub(super) fn user(id: &'static str, name: &'static str) -> StoryResource {
    StoryResource { resource_type: "user", id: Cow::Borrowed(id), name: Cow::Borrowed(name) }
}
