#!/usr/bin/env python3
"""Applies a rollback plan of auditlog to a small store, as an example for services with stores of their own.

    apply_rollback_plan.py STORE --by USER --as-of N
        (--entry ID... | --resource TYPE ID --at TIME | --user ID --start-date DATE --end-date DATE | --trace ID)
        [--apply STEP]... [--skip STEP]...

Look at the plan first, with `auditlog rollback-plan`. --as-of is the number that it prints, so this is the same plan.
A step that is neither ready nor noop needs a decision: --apply or --skip, with its number in the plan. So does one that
creates a resource again, because the log may not have all of its fields. Without it, nothing is applied.

The store is a SQLite file with a table of JSON documents:

    CREATE TABLE documents (type TEXT, id TEXT, body TEXT NOT NULL, PRIMARY KEY (type, id));

A dot in the path of a field is a level of the document. Numbers are those of Python, so they have 17 digits. The steps
of a resource are one transaction: all of them are applied, or none. A field must have the value that the plan expects.
If it has another one, somebody has changed it since, and the program ends. Make a new plan then. Most of what is undone
already is a noop in it; a resource that was created again, and fields that overlap, are conflicts with the repair.

The same transaction writes the audit entries into a table `outbox`. From there the program sends them to the service,
and it removes them once they are durable. If it ends before that, the next run sends them: they keep their ids, so none
is recorded twice. Each has `revertOf` in its metadata: the id of the entry that it undoes, or of the oldest one, and
then `revertThrough` has the id of the newest one.

AUDITLOG_ENDPOINT, AUDITLOG_API_KEY (scopes read and write) and AUDITLOG_ORGANIZATION come from the environment. Exit
codes: 0 the plan is applied, 1 it is not, or not completely, 2 wrong usage.
"""

import argparse
import http.client
import json
import os
import sqlite3
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
from datetime import datetime, timezone

# The number of entries of one write. The service takes at most 1,000.
MAX_SENT = 100
# The limits of the service for one entry.
MAX_CHANGES = 1_000
MAX_ENTRY_BYTES = 256 * 1024
# Longer than the service's own limit, so that the service says what became of a write.
TIMEOUT = 35


class Refused(Exception):
    """The reason why the program ends early."""


def call(path, body):
    """Sends a POST to the service, and returns the answer."""
    organization = urllib.parse.quote(os.environ["AUDITLOG_ORGANIZATION"], safe="")
    request = urllib.request.Request(
        f"{os.environ['AUDITLOG_ENDPOINT'].rstrip('/')}/v1/{organization}/{path}",
        data=json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {os.environ['AUDITLOG_API_KEY']}",
            "Content-Type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Refused(f"{path}: {message_of(error)}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"{path}: {error}") from error


def message_of(error):
    """The message of an error of the service."""
    try:
        return json.load(error)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return str(error)


def is_same(one, other):
    """Whether two JSON values are equal. In Python, True == 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one == other


def value_of(document, field):
    """The value of a field. An absent one is None, as null is."""
    for key in field.split("."):
        if document is None:
            return None
        if not isinstance(document, dict):
            raise Refused(f"{field} is below a value that is no object")
        document = document.get(key)
    return document


def set_value(document, field, value):
    """Sets a field, or removes it if the value is None."""
    *above, last = field.split(".")
    for key in above:
        if value is None and document.get(key) is None:
            return
        below = document.get(key)
        if below is None:
            below = document[key] = {}
        if not isinstance(below, dict):
            raise Refused(f"{field} is below a value that is no object")
        document = below
    if value is None:
        document.pop(last, None)
    else:
        document[last] = value


def read(store, resource):
    """The document of a resource; None if it does not exist."""
    row = store.execute("SELECT body FROM documents WHERE type = ? AND id = ?", resource).fetchone()
    return None if row is None else json.loads(row[0])


def restore(store, resource, step):
    """Sets a field back, if it has the value that the plan expects. Returns the action and the changes."""
    field, document = step["field"], read(store, resource)
    if document is None:
        raise Refused("it does not exist")
    if "restore" not in step:
        raise Refused(f"the plan leaves out the value of {field}, because it is too large; get {step['oldest']['id']}")
    found = value_of(document, field)
    if "expected" in step and not is_same(found, step["expected"]):
        raise Refused(f"{field} is {json.dumps(found)}, and the plan expects {json.dumps(step['expected'])}")
    set_value(document, field, step["restore"])
    body = json.dumps(document, ensure_ascii=False)
    store.execute("UPDATE documents SET body = ? WHERE type = ? AND id = ?", (body, *resource))
    return "updated", [{"field": field, "oldValue": found, "newValue": step["restore"]}]


def recreate(store, resource, step):
    """Creates a resource with the fields that are known. Returns the action and the changes."""
    if read(store, resource) is not None:
        raise Refused("it exists already")
    document = {}
    # By path, so a field comes before the fields below it.
    for field in step["fields"]:
        if "value" not in field:
            raise Refused(f"the plan leaves out the value of {field['field']}, because it is too large")
        set_value(document, field["field"], field["value"])
    body = json.dumps(document, ensure_ascii=False)
    store.execute("INSERT INTO documents (type, id, body) VALUES (?, ?, ?)", (*resource, body))
    return "created", [{"field": field["field"], "newValue": field["value"]} for field in step["fields"]]


def delete(store, resource, _):
    """Deletes a resource. Returns the action and the changes."""
    if read(store, resource) is None:
        raise Refused("it does not exist")
    store.execute("DELETE FROM documents WHERE type = ? AND id = ?", resource)
    return "deleted", []


DO = {"restore": restore, "recreate": recreate, "delete": delete}


def entry(step, by, action, changes):
    """The audit entry of a step. Its id is made once; the outbox keeps it."""
    oldest, newest = step["oldest"]["id"], step["newest"]["id"]
    through = {} if oldest == newest else {"revertThrough": newest}
    return {
        "id": f"log_{uuid.uuid4().hex}",
        "timestamp": datetime.now(timezone.utc).isoformat(),
        "resourceType": step["resourceType"],
        "resourceId": step["resourceId"],
        "action": action,
        "userId": by,
        "changes": changes,
        "metadata": {"source": "rollback", "revertOf": oldest, **through},
    }


def needs_decision(step):
    """Whether somebody has to decide about a step. Without an expected value, nothing tells of later changes. A resource
    that is created again lacks the fields that no entry changed since it was first created."""
    is_blind = step["action"] == "recreate" or step["action"] == "restore" and "expected" not in step
    return step["status"] not in ("ready", "noop") or (step["status"] == "ready" and is_blind)


def chosen(plan, options):
    """The steps to apply with their numbers, by resource, in the order of the plan. Errors: a decision is missing."""
    steps = dict(enumerate(plan["steps"], 1))
    for number in options.apply + options.skip:
        if number not in steps:
            raise Refused(f"there is no step {number}")
    by_resource, undecided = {}, []
    for number, step in steps.items():
        if number in options.skip or step["status"] == "noop":
            continue
        if number not in options.apply and needs_decision(step):
            undecided.append(f"step {number} of {step['resourceType']} {step['resourceId']} needs a decision "
                             f"({step['status']}): {step['explanation']}")
        elif step["action"] in DO:
            by_resource.setdefault((step["resourceType"], step["resourceId"]), []).append((number, step))
        else:
            raise Refused(f"step {number} has nothing to apply; --skip {number}")
    if undecided:
        raise Refused("\n".join([*undecided, "nothing was applied: decide with --apply STEP or --skip STEP"]))
    return by_resource


def apply(store, plan, options):
    """Applies the steps, one transaction for each resource. Errors: a resource is not as the plan expects."""
    for resource, steps in chosen(plan, options).items():
        try:
            with store:
                store.execute("BEGIN IMMEDIATE")
                for _, step in steps:
                    action, changes = DO[step["action"]](store, resource, step)
                    audit = json.dumps(entry(step, options.by, action, changes))
                    if len(changes) > MAX_CHANGES or len(audit.encode()) > MAX_ENTRY_BYTES:
                        raise Refused("the service would refuse the audit entry of this step, which is too large")
                    store.execute("INSERT INTO outbox (entry) VALUES (?)", [audit])
        except Refused as reason:
            name = " ".join(resource)
            raise Refused(f"{name} is left as it is, and so are the resources after it: {reason}") from reason
        for number, step in steps:
            print(f"step {number}: {step['action']} {' '.join(resource)} {step.get('field', '')}".rstrip())


def send(store):
    """Sends the entries of the outbox, in their order, and removes those that are durable."""
    while rows := store.execute("SELECT place, entry FROM outbox ORDER BY place LIMIT ?", [MAX_SENT]).fetchall():
        # A request has at most 4 MiB.
        size = 0
        rows = [row for row in rows if (size := size + len(row[1].encode())) < 3 * 1024 * 1024] or rows[:1]
        try:
            written = call("audit-logs", {"auditLogs": [json.loads(entry) for _, entry in rows]})
        except Refused as reason:
            raise Refused(f"{reason}; the outbox keeps its entries for the next run") from reason
        with store:
            store.execute("DELETE FROM outbox WHERE place <= ?", [rows[-1][0]])
        for one in written["auditLogs"]:
            print(f"recorded {one['id']}")


def selection(options):
    """The entries to undo, as the body of a request for a plan has them."""
    if options.entry:
        return {"entries": options.entry}
    if options.resource:
        resource_type, resource_id = options.resource
        return {"resource": {"resourceType": resource_type, "resourceId": resource_id, "at": options.at}}
    if options.user:
        return {"user": {"userId": options.user, "startDate": options.start_date, "endDate": options.end_date}}
    return {"traceId": options.trace}


def parsed(arguments):
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, usage=argparse.SUPPRESS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--by", metavar="USER", required=True, help="who undoes the entries")
    parser.add_argument("--as-of", type=int, required=True, metavar="N", help="the number that the plan printed")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--entry", action="append", metavar="ID")
    what.add_argument("--resource", nargs=2, metavar=("TYPE", "ID"))
    what.add_argument("--user", metavar="ID")
    what.add_argument("--trace", metavar="ID")
    for name in ("--at", "--start-date", "--end-date"):
        parser.add_argument(name, metavar="TIME")
    parser.add_argument("--apply", action="append", type=int, default=[], metavar="STEP", help="apply it all the same")
    parser.add_argument("--skip", action="append", type=int, default=[], metavar="STEP", help="leave it out")
    options = parser.parse_args(arguments)
    needed = {"--at": (options.resource, options.at)}
    needed.update({"--start-date": (options.user, options.start_date), "--end-date": (options.user, options.end_date)})
    for name, (selected, value) in needed.items():
        if bool(selected) != (value is not None):
            parser.error(f"{name} comes with {'--resource' if name == '--at' else '--user'}, and only then")
    if both := set(options.apply) & set(options.skip):
        parser.error(f"--apply and --skip have the same step: {min(both)}")
    for name in ("AUDITLOG_ENDPOINT", "AUDITLOG_API_KEY", "AUDITLOG_ORGANIZATION"):
        if name not in os.environ:
            parser.error(f"{name} is not set")
    return options


def main(arguments):
    options = parsed(arguments)
    try:
        # Transactions begin with BEGIN IMMEDIATE.
        store = sqlite3.connect(f"file:{urllib.parse.quote(options.store)}?mode=rw", uri=True, isolation_level=None)
        store.execute("CREATE TABLE IF NOT EXISTS outbox (place INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT)")
        # What an earlier run could not send.
        send(store)
        plan = call("rollback-plans", {**selection(options), "asOf": options.as_of})
        stopped = None
        try:
            apply(store, plan, options)
        except Refused as reason:
            print(reason, file=sys.stderr)
            stopped = reason
        # Also if only a part was applied.
        send(store)
        return 1 if stopped else 0
    except (Refused, sqlite3.Error) as reason:
        print(reason, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
