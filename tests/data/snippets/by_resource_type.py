import requests

response = requests.get( "https://api.freddy.aitronos.com/v1/org_abc123/audit-logs", headers={"Authorization": f"Bearer {api_key}"}, params={"resourceType": "assistant"} )
logs = response.json()
print(f"Found {len(logs['auditLogs'])} assistant changes")
