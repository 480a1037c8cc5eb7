//! The people and the services of the invented company.

/// Somebody who acts in the log.
#[derive(Debug)]
pub(super) struct StoryAccount {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    /// Empty if there is none.
    pub(super) email: &'static str,
    pub(super) actor_type: &'static str,
    /// The metadata of all entries.
    pub(super) address: &'static str,
    pub(super) agent: &'static str,
    pub(super) source: &'static str,
}

/// When a person works, and on what.
#[derive(Debug)]
pub(super) struct WorkHabits {
    pub(super) account: &'static StoryAccount,
    /// Minutes east of UTC.
    pub(super) offset: i64,
    /// The local hours around which the person works most.
    pub(super) peaks: [i64; 2],
    /// The working days of the week. Sunday is 0.
    pub(super) days: &'static [i64],
    /// The number of actions on such a day, about.
    pub(super) pace: usize,
    /// The types of resources that the person works with. The first ones come most often.
    pub(super) types: &'static [&'static str],
}

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const SAFARI: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/18.4 Safari/605.1.15";
const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                      Chrome/138.0.0.0 Safari/537.36";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                     Version/18.5 Mobile/15E148 Safari/604.1";
const COMMAND_LINE: &str = "larkctl/3.8.1";

macro_rules! person {
    ($id:literal, $name:literal, $email:literal, $address:literal, $agent:ident, $source:literal) => {
        StoryAccount {
            id: $id,
            name: $name,
            email: $email,
            actor_type: "user",
            address: $address,
            agent: $agent,
            source: $source,
        }
    };
}

macro_rules! service {
    ($id:literal, $name:literal, $actor_type:literal, $address:literal, $agent:literal) => {
        StoryAccount {
            id: $id,
            name: $name,
            email: "",
            actor_type: $actor_type,
            address: $address,
            agent: $agent,
            source: "api",
        }
    };
}

pub(super) static AMARA: StoryAccount =
    person!("uid_amara_okafor", "Amara Okafor", "amara.okafor@example.com", "203.0.113.18", FIREFOX, "web_ui");
pub(super) static LENA: StoryAccount =
    person!("uid_lena_brandt", "Lena Brandt", "lena.brandt@example.com", "203.0.113.41", SAFARI, "web_ui");
pub(super) static MATEO: StoryAccount =
    person!("uid_mateo_ruiz", "Mateo Ruiz", "mateo.ruiz@example.com", "198.51.100.77", CHROME, "web_ui");
pub(super) static PRIYA: StoryAccount =
    person!("uid_priya_raman", "Priya Raman", "priya.raman@example.com", "198.51.100.12", COMMAND_LINE, "cli");
pub(super) static NOAH: StoryAccount =
    person!("uid_noah_fischer", "Noah Fischer", "noah.fischer@example.com", "203.0.113.64", FIREFOX, "web_ui");
pub(super) static YUKI: StoryAccount =
    person!("uid_yuki_tanaka", "Yuki Tanaka", "yuki.tanaka@example.com", "192.0.2.155", SAFARI, "web_ui");
pub(super) static GRACE: StoryAccount =
    person!("uid_grace_mbeki", "Grace Mbeki", "grace.mbeki@example.com", "203.0.113.90", CHROME, "web_ui");
pub(super) static OLIVER: StoryAccount =
    person!("uid_oliver_hart", "Oliver Hart", "oliver.hart@example.com", "203.0.113.7", COMMAND_LINE, "cli");
pub(super) static SOFIA: StoryAccount =
    person!("uid_sofia_lindqvist", "Sofia Lindqvist", "sofia.lindqvist@example.com", "203.0.113.122", PHONE, "mobile");
pub(super) static DANIEL: StoryAccount =
    person!("uid_daniel_cohen", "Daniel Cohen", "daniel.cohen@example.com", "192.0.2.31", CHROME, "web_ui");
pub(super) static CHLOE: StoryAccount =
    person!("uid_chloe_martin", "Chloé Martin", "chloe.martin@example.com", "198.51.100.203", SAFARI, "web_ui");
pub(super) static RAVI: StoryAccount =
    person!("uid_ravi_patel", "Ravi Patel", "ravi.patel@example.com", "192.0.2.240", PHONE, "mobile");

pub(super) static ROLLOUT: StoryAccount =
    service!("svc_config_rollout", "Configuration Rollout", "service", "10.20.0.14", "config-rollout/2.11.0");
pub(super) static NIGHT_SYNC: StoryAccount =
    service!("svc_night_sync", "Night Synchronization", "service", "10.20.0.31", "night-sync/1.4.2");
pub(super) static RUNTIME: StoryAccount =
    service!("svc_assistant_runtime", "Assistant Runtime", "service", "10.20.1.5", "assistant-runtime/9.3");
pub(super) static WEB_CHAT: StoryAccount =
    service!("svc_web_chat", "Web Chat", "service", "10.20.1.9", "web-chat/5.0.7");
pub(super) static RETENTION: StoryAccount =
    service!("system_retention", "Retention", "system", "127.0.0.1", "larkfield-platform/31.2");
pub(super) static STRANGER: StoryAccount =
    service!("anonymous", "", "anonymous", "192.0.2.66", "python-requests/2.32.3");

const WEEKDAYS: &[i64] = &[1, 2, 3, 4, 5];

/// The twelve people, with habits so different that their weeks look different.
pub(super) static PEOPLE: [WorkHabits; 12] = [
    WorkHabits {
        account: &AMARA,
        offset: 60,
        peaks: [9, 14],
        days: WEEKDAYS,
        pace: 5,
        types: &["assistant", "user", "assistant", "organization", "rule"],
    },
    WorkHabits {
        account: &LENA,
        offset: 60,
        peaks: [10, 15],
        days: WEEKDAYS,
        pace: 8,
        types: &["assistant", "assistant", "rule"],
    },
    WorkHabits {
        account: &MATEO,
        offset: -360,
        peaks: [9, 13],
        days: WEEKDAYS,
        pace: 4,
        types: &["vector_store", "assistant", "mcp_configuration"],
    },
    WorkHabits {
        account: &PRIYA,
        offset: 330,
        peaks: [13, 16],
        days: WEEKDAYS,
        pace: 7,
        types: &["mcp_configuration", "vector_store", "mcp_configuration", "assistant"],
    },
    WorkHabits {
        account: &NOAH,
        offset: 60,
        peaks: [11, 16],
        days: WEEKDAYS,
        pace: 7,
        types: &["assistant", "vector_store", "assistant"],
    },
    WorkHabits { account: &YUKI, offset: 540, peaks: [10, 17], days: WEEKDAYS, pace: 3, types: &["rule", "assistant"] },
    WorkHabits {
        account: &GRACE,
        offset: 120,
        peaks: [8, 13],
        days: &[2, 3, 4, 5, 6],
        pace: 6,
        types: &["rule", "user", "rule", "assistant"],
    },
    WorkHabits {
        account: &OLIVER,
        offset: 0,
        peaks: [9, 17],
        days: WEEKDAYS,
        pace: 5,
        types: &["mcp_configuration", "organization", "assistant"],
    },
    WorkHabits {
        account: &SOFIA,
        offset: 60,
        peaks: [7, 12],
        days: WEEKDAYS,
        pace: 6,
        types: &["vector_store", "vector_store", "rule"],
    },
    WorkHabits {
        account: &DANIEL,
        offset: 120,
        peaks: [10, 15],
        days: &[0, 1, 2, 3, 4],
        pace: 5,
        types: &["user", "rule", "assistant", "vector_store"],
    },
    WorkHabits {
        account: &CHLOE,
        offset: -300,
        peaks: [9, 14],
        days: &[1, 2, 4, 5],
        pace: 4,
        types: &["assistant", "rule", "assistant"],
    },
    WorkHabits {
        account: &RAVI,
        offset: 720,
        peaks: [9, 20],
        days: &[0, 3, 6],
        pace: 3,
        types: &["mcp_configuration", "assistant"],
    },
];
