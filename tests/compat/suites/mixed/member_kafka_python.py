# SPDX-License-Identifier: Apache-2.0
"""A member of a group with kafka-python: BROKERS GROUP TOPIC [SETTING=VALUE...], as members.py tells.
It takes Debian's version as well as the newest."""
import importlib
import os
import signal
import sys
import time

import kafka
from kafka.errors import KafkaError

ASSIGNORS = {"range": ("range", "RangePartitionAssignor"),
             "sticky": ("sticky.sticky_assignor", "StickyPartitionAssignor"),
             "cooperative-sticky": ("cooperative_sticky", "CooperativeStickyAssignor")}
brokers, group, topic = sys.argv[1:4]
settings = {"bootstrap_servers": brokers, "group_id": group, "enable_auto_commit": False,
            "reconnect_backoff_max_ms": 200, "retry_backoff_ms": 50}
for pair in sys.argv[4:]:
    name, value = pair.split("=", 1)
    if name == "partition.assignment.strategy":
        module, kind = ASSIGNORS[value]
        module = importlib.import_module("kafka.coordinator.assignors." + module)
        settings["partition_assignment_strategy"] = [getattr(module, kind)]
    else:
        settings[name.replace(".", "_")] = int(value) if value.isdigit() else value
going = True
fresh = set()  # partitions given to this member, and not yet read from


def stop(*_):
    global going
    going = False


def say(text):
    os.write(1, text.encode() + b"\n")


def commit():
    try:
        consumer.commit()
    except KafkaError as error:
        print("commit:", repr(error), file=sys.stderr)


def poll():
    try:
        return consumer.poll(timeout_ms=100)
    except KafkaError as error:
        print("poll:", repr(error), file=sys.stderr)
        return {}


def begin_anew():
    """Version 3 goes on where it was with a partition that it had before, also when somebody else had it
    in between, and would take that one's commits back."""
    try:
        for where in sorted(fresh & consumer.assignment()):
            offset = consumer.committed(where)
            if offset is None:
                consumer.seek_to_beginning(where)
            else:
                consumer.seek(where, offset)
        fresh.clear()
    except KafkaError as error:
        print("committed:", repr(error), file=sys.stderr)


# Its callbacks run where nothing may be waited for, so they commit nothing: what is not committed by
# then is processed again by somebody else.
class Listener(kafka.ConsumerRebalanceListener):
    def on_partitions_assigned(self, assigned):
        fresh.update(assigned)
        for where in assigned:
            say(f"A {where.partition}")

    def on_partitions_revoked(self, revoked):
        for where in revoked:
            say(f"R {where.partition}")

    def on_partitions_lost(self, lost):
        for where in lost:
            say(f"L {where.partition}")


signal.signal(signal.SIGTERM, stop)
consumer = None
while not consumer:
    try:
        consumer = kafka.KafkaConsumer(**settings)
    except KafkaError as error:  # it does not wait for a broker that is away just now
        print("beginning:", repr(error), file=sys.stderr)
        if not going:
            sys.exit(0)
        time.sleep(0.05)
consumer.subscribe([topic], listener=Listener())
since, dirty = time.monotonic(), False
while going:
    polled, sought = poll(), set(fresh)
    if sought:
        begin_anew()
    for where, records in polled.items():
        for record in records if where not in sought else ():
            say(f"P {record.partition} {record.offset} {record.value.decode()}")
            dirty = True
    if dirty and not fresh and time.monotonic() > since + 0.2:
        commit()
        since, dirty = time.monotonic(), False
consumer.close(autocommit=False)
