"""Uploads the same body repeatedly in one session of requests: python3 uploads.py URL METHOD KEY FILE TIMES

Prints how often each answer came, as JSON: its status and error code, or a description of the failure.
"""

import collections
import json
import sys

import requests

url, method, key, file, times = sys.argv[1:]
with open(file, "rb") as opened:
    body = opened.read()
headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
answers = collections.Counter()
with requests.Session() as session:
    for _ in range(int(times)):
        try:
            response = session.request(method, url, data=body, headers=headers, timeout=60)
        except requests.RequestException as error:
            answers[f"error {type(error).__name__}"] += 1
            continue
        try:
            code = response.json().get("error", {}).get("code")
        except ValueError:
            code = f"no JSON: {response.text[:80]}"
        answers[f"{response.status_code} {code}" if code else str(response.status_code)] += 1
print(json.dumps(answers))
