// SPDX-License-Identifier: Apache-2.0
// A member of a group with kafkajs: BROKERS GROUP TOPIC [SETTING=VALUE...], as members.py tells. The
// client has an assignor of its own, which no other client knows.
'use strict'
const fs = require('fs')
const { Kafka, logLevel } = require('kafkajs')

const [brokers, group, topic, ...pairs] = process.argv.slice(2)
const settings = Object.fromEntries(pairs.map((pair) => pair.split('=')))
const retry = { initialRetryTime: 50, maxRetryTime: 500, retries: 1000 }
const kafka = new Kafka({ brokers: [brokers], logLevel: logLevel.NOTHING, retry })
const consumer = kafka.consumer({
  retry, groupId: group, sessionTimeout: Number(settings['session.timeout.ms']),
  heartbeatInterval: Number(settings['heartbeat.interval.ms']),
  rebalanceTimeout: Number(settings['max.poll.interval.ms']),
})
const say = (text) => fs.writeSync(1, text + '\n')

async function eachBatch({ batch, resolveOffset, isRunning, isStale }) {
  for (const message of batch.messages) {
    if (!isRunning() || isStale()) return
    say(`P ${batch.partition} ${message.offset} ${message.value}`)
    resolveOffset(message.offset)
  }
  const offset = String(BigInt(batch.lastOffset()) + 1n)
  // Whoever was put out of the group while frozen must not throw here, where the client would end for
  // it; with its next heartbeat it joins again.
  await consumer.commitOffsets([{ topic, partition: batch.partition, offset }])
    .catch((error) => console.error('commit:', error.message))
}

async function main() {
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    for (const partition of payload.memberAssignment[topic] || []) say(`A ${partition}`)
  })
  consumer.on(consumer.events.CRASH, ({ payload }) => console.error('crash:', payload.error, payload.restart))
  process.on('SIGTERM', async () => {
    await consumer.disconnect()
    process.exit(0)
  })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: settings['auto.offset.reset'] === 'earliest' })
  await consumer.run({ autoCommit: false, eachBatchAutoResolve: false, eachBatch })
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
