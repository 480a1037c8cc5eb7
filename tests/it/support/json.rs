//! Entries as the bodies of REST writes have them.

use serde_json::{Value, json};

/// The example of the public documentation.
pub fn documented() -> Value {
    json!({
        "id": "log_abc123", "timestamp": "2025-01-20T10:30:00Z", "resourceType": "assistant", "resourceId": "asst_abc123",
        "resourceName": "Customer Support Bot", "action": "updated", "userId": "uid_user123", "userName": "John Doe",
        "userEmail": "john@example.com",
        "changes": [
            {"field": "temperature", "oldValue": 0.7, "newValue": 0.9},
            {"field": "tools.webSearch", "oldValue": false, "newValue": true}
        ],
        "metadata": {"ipAddress": "192.168.1.1", "userAgent": "Mozilla/5.0", "source": "web_ui"}
    })
}

/// The smallest valid entry.
pub fn least(id: &str) -> Value {
    json!({"id": id, "resourceType": "rule", "resourceId": "rule_1", "action": "created", "userId": "uid_1"})
}
