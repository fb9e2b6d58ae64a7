# SPDX-License-Identifier: Apache-2.0
"""One client process of the soak, a foreign one (librdkafka). It goes on until its standard input is
closed, whatever happens to the broker, and says on its standard output what it was told:

  A PARTITION OFFSET NUMBER       record NUMBER of this producer was acknowledged
  F PARTITION NUMBER REASON       it failed for good
  S PARTITION OFFSET NAME NUMBER  a consumer got this record (NAME ! for bytes nobody wrote)
  C PARTITION OFFSET              an offset was committed
  N NUMBER                        how many this producer has sent in all, when it ends"""
import argparse
import os
import random
import select
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer

from values import parse, value_of


def told_to_stop():
    return bool(select.select([sys.stdin], [], [], 0)[0])


class Lines:
    """Standard output, one write per turn."""

    def __init__(self):
        self.lines = []

    def add(self, text):
        self.lines.append(text)

    def flush(self):
        if self.lines:
            data = ("\n".join(self.lines) + "\n").encode()
            self.lines = []
            while data:
                data = data[os.write(1, data):]


def produce(options, lines):
    settings = {"bootstrap.servers": options.brokers, "acks": "all", "log_level": 0, "linger.ms": 0,
                "socket.keepalive.enable": True, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200,
                "message.max.bytes": 4000000, "queue.buffering.max.messages": 20000}
    if options.idempotent:
        settings.update({"enable.idempotence": True, "message.timeout.ms": 0, "retry.backoff.ms": 20})
    else:
        settings.update({"retries": 0, "message.timeout.ms": 20000})
    producer = Producer(settings)
    name = options.name.encode()
    chance = random.Random(options.seed)
    number = 0
    stored = 0

    def delivered(error, message, number):
        nonlocal stored
        if error is None:
            stored += 1
            lines.add(f"A {message.partition()} {message.offset()} {number}")
        else:
            lines.add(f"F {message.partition()} {number} {error.code()}")

    while not (told_to_stop() and stored):  # that nothing was stored at all is for the checker a failure
        for _ in range(chance.choice((1, 1, 3, 20, 100))):
            try:
                producer.produce(options.topic, value_of(name, number), partition=number % options.partitions,
                                 on_delivery=lambda e, m, n=number: delivered(e, m, n))
                number += 1
            except BufferError:
                break
        time.sleep(chance.random() * 0.03)
        producer.poll(0)
        lines.flush()
    while producer.flush(1):
        lines.flush()
    lines.add(f"N {number}")
    lines.flush()


def follow(options, lines):
    consumer = Consumer({"bootstrap.servers": options.brokers, "group.id": options.name, "log_level": 0,
                         "enable.auto.commit": False, "auto.offset.reset": "earliest", "check.crcs": True,
                         "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200,
                         "session.timeout.ms": 6000, "heartbeat.interval.ms": 500})
    consumer.subscribe([options.topic])
    while not told_to_stop():
        for message in consumer.consume(500, 0.1):
            if message.error():
                continue
            name, number = parse(message.value()) or (b"!", 0)
            lines.add(f"S {message.partition()} {message.offset()} {name.decode()} {number}")
        try:
            for done in consumer.commit(asynchronous=False) or []:
                if done.error is None and done.offset >= 0:
                    lines.add(f"C {done.partition} {done.offset}")
        except KafkaException:
            pass  # nothing new to commit, or the broker is away
        lines.flush()
    consumer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=("produce", "follow"))
    parser.add_argument("--brokers")
    parser.add_argument("--topic")
    parser.add_argument("--partitions", type=int)
    parser.add_argument("--name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--idempotent", action="store_true")
    options = parser.parse_args()
    {"produce": produce, "follow": follow}[options.work](options, Lines())


if __name__ == "__main__":
    main()
