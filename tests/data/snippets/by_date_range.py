import requests

response = requests.get( "https://api.freddy.aitronos.com/v1/org_abc123/audit-logs", headers={"Authorization": f"Bearer {api_key}"}, params={ "startDate": "2025-01-01T00:00:00Z", "endDate": "2025-01-31T23:59:59Z" } )
logs = response.json()
print(f"Found {logs['pagination']['total']} logs in January 2025")
