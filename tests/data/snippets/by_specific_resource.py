import requests

response = requests.get( "https://api.freddy.aitronos.com/v1/org_abc123/audit-logs", headers={"Authorization": f"Bearer {api_key}"}, params={ "resourceType": "assistant", "resourceId": "asst_abc123" } )
logs = response.json()
for log in logs['auditLogs']:
    print(f"{log['timestamp']}: {log['action']}")
    for change in log.get('changes', []):
        print(f" - {change['field']}: {change['oldValue']} → {change['newValue']}")
