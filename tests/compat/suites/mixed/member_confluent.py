# SPDX-License-Identifier: Apache-2.0
"""A member of a group with librdkafka: BROKERS GROUP TOPIC [SETTING=VALUE...], as members.py tells."""
import os
import signal
import sys
import time

import confluent_kafka

brokers, group, topic = sys.argv[1:4]
settings = {"bootstrap.servers": brokers, "group.id": group, "enable.auto.commit": False,
            "reconnect.backoff.max.ms": 200, "log_level": 3}
settings.update(pair.split("=", 1) for pair in sys.argv[4:])
going = True


def stop(*_):
    global going
    going = False


def say(text):
    os.write(1, text.encode() + b"\n")


def commit(who):
    try:
        who.commit(asynchronous=False)
    except confluent_kafka.KafkaException as error:
        if error.args[0].code() != confluent_kafka.KafkaError._NO_OFFSET:
            print("commit:", error, file=sys.stderr)


def told(kind):
    def changed(who, partitions):
        for where in partitions:
            say(f"{kind} {where.partition}")
        if kind == "R":
            commit(who)
    return changed


signal.signal(signal.SIGTERM, stop)
consumer = confluent_kafka.Consumer(settings)
consumer.subscribe([topic], on_assign=told("A"), on_revoke=told("R"), on_lost=told("L"))
since, dirty = time.monotonic(), False
while going:
    # One at a time: what is taken in one call may be committed by a callback before it is seen.
    message = consumer.poll(0.1)
    if message is not None and message.error():
        print(message.error(), file=sys.stderr)
    elif message is not None:
        say(f"P {message.partition()} {message.offset()} {message.value().decode()}")
        dirty = True
    if dirty and time.monotonic() > since + 0.2:
        commit(consumer)
        since, dirty = time.monotonic(), False
consumer.close()
