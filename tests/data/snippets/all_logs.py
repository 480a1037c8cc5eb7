import requests

response = requests.get( "https://api.freddy.aitronos.com/v1/org_abc123/audit-logs", headers={"Authorization": f"Bearer {api_key}"}, params={"limit": 20} )
logs = response.json()
print(f"Found {logs['pagination']['total']} audit logs")
for log in logs['auditLogs']:
    print(f"{log['timestamp']}: {log['action']} {log['resourceType']} by {log['userName']}")
