# SPDX-License-Identifier: Apache-2.0
"""Writes numbered records until SIGTERM: produce.py BROKERS TOPIC PARTITIONS PER_SECOND SEED. Prints
"W partition offset number" for each that is acknowledged."""
import os
import random
import signal
import sys
import time

import confluent_kafka

brokers, topic = sys.argv[1:3]
partitions, rate, seed = map(int, sys.argv[3:])
going = True


def stop(*_):
    global going
    going = False


def delivered(error, message):
    if error is None:
        os.write(1, f"W {message.partition()} {message.offset()} {message.value().decode()}\n".encode())
    else:
        print(error, file=sys.stderr)


signal.signal(signal.SIGTERM, stop)
chance = random.Random(seed)
producer = confluent_kafka.Producer({"bootstrap.servers": brokers, "log_level": 0, "linger.ms": 1,
                                     "reconnect.backoff.max.ms": 200})
number = 0
begin = time.monotonic()
while going:
    while number < (time.monotonic() - begin) * rate and len(producer) < 10000:
        producer.produce(topic, b"%d" % number, partition=chance.randrange(partitions),
                         on_delivery=delivered)
        number += 1
    producer.poll(0.01)
sys.exit(1 if producer.flush(60) else 0)
