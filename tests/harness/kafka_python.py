# SPDX-License-Identifier: Apache-2.0
"""kafka-python's clients, with the tests' patience: by itself it takes a broker that has not told its
version within two seconds for none, and gives a batch up that has waited for half a minute."""
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from harness.broker import PATIENCE_S

for client in (KafkaAdminClient, KafkaConsumer, KafkaProducer):
    client.DEFAULT_CONFIG["api_version_auto_timeout_ms"] = 1000 * PATIENCE_S
for client in (KafkaAdminClient, KafkaProducer):
    client.DEFAULT_CONFIG["request_timeout_ms"] = 1000 * PATIENCE_S
KafkaProducer.DEFAULT_CONFIG["max_block_ms"] = 1000 * PATIENCE_S
